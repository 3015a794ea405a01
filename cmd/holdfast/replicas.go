package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/feed"
	"github.com/holdfast-authz/holdfast/cmd/internal/config"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// What replicas share: the feed, who is there, and what proofs were used.

// openFeed starts or finds the broker and prepares to follow its log.
func (p *process) openFeed() (err error) {
	c := &p.config.Feed
	if err := os.MkdirAll(c.StateDirectory(), 0o700); err != nil {
		return fmt.Errorf("make the feed's directory: %w", err)
	}
	if p.feedKey, err = feed.LoadKey(c.KeyFile, c.NATS == nil); err != nil {
		return err
	}
	if info, err := os.Stat(c.KeyFile); err == nil && info.Mode().Perm()&0o044 != 0 {
		p.log.Warn("feed key may be read by others: whoever has it can write to the feed", "file", c.KeyFile, "mode", info.Mode().Perm().String())
	}
	if p.broker, err = p.openBroker(c); err != nil {
		return err
	}
	if p.head, err = feed.OpenHead(filepath.Join(c.StateDirectory(), "feed.head")); err != nil {
		return err
	}
	p.feed, err = feed.New(feed.Config{
		Log: p.broker, Key: p.feedKey, Head: p.head, MaxAge: c.MaxAge, Sync: p.sync, Logger: p.log,
		Apply: p.apply, Start: p.openSnapshot(), Again: p.again,
	})
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unnamed"
	}
	p.replicas, err = feed.NewPresence(feed.PresenceConfig{
		Broker: p.broker, Key: p.feedKey, Applied: p.index.Applied, Evidence: p.evidence,
		Ready: func() bool { return p.sync.Health(time.Now(), c.MaxAge) != cache.NotReady },
		Host:  host, Version: version, Logger: p.log,
	})
	return err
}

func (p *process) openBroker(c *config.Feed) (feed.Broker, error) {
	if n := c.NATS; n != nil {
		conf, err := natsTLS(n.TLS)
		if err != nil {
			return nil, fmt.Errorf("feed.nats.tls: %w", err)
		}
		cluster, err := feed.OpenCluster(feed.ClusterConfig{
			URLs: n.URLs, CredentialsFile: n.CredentialsFile, TLS: conf, Key: p.feedKey, Stream: n.Stream, Logger: p.log,
		})
		if err != nil {
			return nil, err // not a nil *Cluster in the interface
		}
		return cluster, nil
	}
	e := feed.EmbeddedConfig{Directory: c.Embedded.Directory, Logger: p.log, Listen: c.Embedded.Listen, Key: p.feedKey}
	if t := c.Embedded.TLS; t != nil {
		conf, err := serverTLS(t.CertFile, t.KeyFile, t.ClientCAFile)
		if err != nil {
			return nil, fmt.Errorf("feed.embedded.tls: %w", err)
		}
		e.TLS = conf
	}
	embedded, err := feed.OpenEmbedded(e)
	if err != nil {
		return nil, err
	}
	return embedded, nil
}

// natsTLS is the client's side; nil leaves it to the URLs.
func natsTLS(c *config.NATSTLS) (*tls.Config, error) {
	if c == nil {
		return nil, nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CertFile != "" {
		certificate, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("load the certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{certificate}
	}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the CA: %w", err)
		}
		if conf.RootCAs = x509.NewCertPool(); !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA %s holds no certificate", c.CAFile)
		}
	}
	return conf, nil
}

// openProofs prepares what replicas know of each other's used proofs.
func (p *process) openProofs(window time.Duration) (err error) {
	if p.replay, err = cache.NewReplay(cache.ReplayConfig{}); err != nil {
		return err
	}
	c := feed.ProofsConfig{
		Broker: p.broker, Key: p.feedKey, Logger: p.log,
		Seen: func(key [16]byte, until time.Time) { p.replay.Seen(key, until, p.clock.Read(time.Now())) },
	}
	if p.config.DPoP.Replay == "strict" {
		c.Window = window
	}
	p.proofs, err = feed.NewProofs(c)
	return err
}

// claimPatience is how long a check waits for the feed. Envoy's files give a
// check 250 ms.
const claimPatience = 200 * time.Millisecond

// claim asks all replicas together whether a proof is new: dpop.replay strict.
func (p *process) claim(key [16]byte, until time.Time) reason.Reason {
	ctx, cancel := context.WithTimeout(context.Background(), claimPatience)
	defer cancel()
	switch first, err := p.proofs.Claim(ctx, key, until); {
	case errors.Is(err, feed.ErrFull):
		return reason.Overloaded
	case err != nil:
		return reason.FeedStale
	case !first:
		return reason.DPoPReplayed
	}
	return reason.OK
}
