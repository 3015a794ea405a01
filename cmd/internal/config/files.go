package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/holdfast-authz/holdfast/cache/apikeys"
	"github.com/holdfast-authz/holdfast/cache/feed"
	"github.com/holdfast-authz/holdfast/cmd/internal/config/strict"
)

// maxSecret is what is read of a secret's file.
const maxSecret = 4096

// checkFiles sees that what the configuration names is there and can be used.
func (c *Config) checkFiles() {
	for i := range c.Issuers {
		path := index("issuers", i)
		c.readable(path+".jwks_file", c.Issuers[i].JWKSFile)
		if in := c.Issuers[i].Introspection; in != nil {
			p := path + ".introspection.client_secret_file"
			if raw := c.readable(p, in.ClientSecretFile); raw != nil && (len(strings.TrimSpace(string(raw))) == 0 || len(raw) > maxSecret) {
				c.say(p, "%s: %s must hold a secret of up to %d bytes", p, strict.Quote(in.ClientSecretFile), maxSecret)
			}
		}
	}
	if keys := c.APIKeys; keys != nil {
		if raw := c.readable("api_keys.file", keys.File); raw != nil {
			if _, err := apikeys.Parse(keys.File, raw); err != nil {
				c.say("api_keys.file", "api_keys.file: %s", err)
			}
		}
	}
	if t := c.Listen.Check.TLS; t != nil {
		c.tlsFiles("listen.check.tls", t.CertFile, t.KeyFile, t.ClientCAFile)
	}
	if t := c.Listen.Admin.TLS; t != nil {
		c.tlsFiles("listen.admin.tls", t.CertFile, t.KeyFile, t.ClientCAFile)
	}
	if t := c.Listen.Events.TLS; t != nil {
		c.tlsFiles("listen.events.tls", t.CertFile, t.KeyFile, t.ClientCAFile)
	}
	for i := range c.Receivers {
		r, path := &c.Receivers[i], index("receivers", i)
		if r.SSFPush != nil {
			c.readable(path+".ssf_push.bearer_token_file", r.SSFPush.BearerTokenFile)
		}
		if r.SSFPoll != nil {
			c.readable(path+".ssf_poll.bearer_token_file", r.SSFPoll.BearerTokenFile)
		}
	}
	if raw := c.readable("listen.admin.token_file", c.Listen.Admin.TokenFile); raw != nil {
		if token := strings.TrimSpace(string(raw)); token == "" || strings.ContainsAny(token, " \t\r\n") {
			c.say("listen.admin.token_file", "listen.admin.token_file %s must hold one token, without spaces", strict.Quote(c.Listen.Admin.TokenFile))
		}
	}
	c.checkFeedFiles(&c.Feed)
	if file := c.DecisionLog.Destination.File; file != "" {
		c.directoryOf("decision_log.destination", file)
	}
}

func (c *Config) checkFeedFiles(f *Feed) {
	if e := f.Embedded; e != nil {
		c.noFile("feed.embedded.directory", e.Directory)
		if t := e.TLS; t != nil {
			c.tlsFiles("feed.embedded.tls", t.CertFile, t.KeyFile, t.ClientCAFile)
		}
	}
	c.noFile("feed.snapshot.directory", f.Snapshot.Directory)
	if n := f.NATS; n != nil {
		c.feedKey(f.KeyFile)
		c.readable("feed.nats.credentials_file", n.CredentialsFile)
		if t := n.TLS; t != nil {
			c.tlsFiles("feed.nats.tls", t.CertFile, t.KeyFile, "")
			c.authorities("feed.nats.tls.ca_file", t.CAFile)
		}
		return
	}
	// The key is made where it is not there.
	if _, err := os.Stat(f.KeyFile); c.file.Given("feed.key_file") && !errors.Is(err, fs.ErrNotExist) {
		c.feedKey(f.KeyFile)
	} else if c.file.Given("feed.key_file") && filepath.Dir(f.KeyFile) != filepath.Clean(f.Embedded.Directory) {
		c.directoryOf("feed.key_file", f.KeyFile)
	}
}

// feedKey reads the feed's key as the feed does.
func (c *Config) feedKey(file string) {
	if c.readable("feed.key_file", file) == nil {
		return
	}
	if _, err := feed.LoadKey(file, false); err != nil {
		c.say("feed.key_file", "feed.key_file: %s", err)
	}
}

// noFile refuses a file where a directory is used, or made.
func (c *Config) noFile(path, directory string) {
	if st, err := os.Stat(directory); err == nil && !st.IsDir() {
		c.say(path, "%s %s is not a directory", path, strict.Quote(directory))
	}
}

// readable reads a small file that must be there; "" is none.
func (c *Config) readable(path, file string) []byte {
	if file == "" {
		return nil
	}
	raw, err := readFile(file)
	if err != nil {
		c.say(path, "%s: %s", path, err)
		return nil
	}
	return raw
}

func readFile(file string) ([]byte, error) {
	st, err := os.Stat(file) // before it is opened: a FIFO would block
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s does not exist%s", strict.Quote(file), seenFrom(file))
	case err == nil && st.IsDir():
		return nil, fmt.Errorf("%s is a directory", strict.Quote(file))
	case err == nil && !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", strict.Quote(file))
	case err != nil:
		return nil, fmt.Errorf("%s: %w", strict.Quote(file), cause(err))
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strict.Quote(file), cause(err))
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, strict.MaxSize))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strict.Quote(file), cause(err))
	}
	if len(raw) == 0 {
		return nil, fmt.Errorf("%s is empty", strict.Quote(file))
	}
	return raw, nil
}

// seenFrom reminds of where relative paths begin.
func seenFrom(file string) string {
	if filepath.IsAbs(file) {
		return ""
	}
	return " (relative paths begin in the directory that holdfast is started in)"
}

// directoryOf demands the directory of a file that is made at need.
func (c *Config) directoryOf(path, file string) {
	if st, err := os.Stat(file); err == nil && st.IsDir() {
		c.say(path, "%s: %s is a directory", path, strict.Quote(file))
		return
	}
	dir := filepath.Dir(file)
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		c.say(path, "%s: the directory %s does not exist%s", path, strict.Quote(dir), seenFrom(file))
	}
}

func (c *Config) tlsFiles(path, cert, key, ca string) {
	certPEM, keyPEM := c.readable(path+".cert_file", cert), c.readable(path+".key_file", key)
	if certPEM != nil && keyPEM != nil {
		if _, err := tls.X509KeyPair(certPEM, keyPEM); err != nil {
			c.say(path+".cert_file", "%s: cert_file and key_file are no pair: %s", path, strings.TrimPrefix(err.Error(), "tls: "))
		}
	}
	c.authorities(path+".client_ca_file", ca)
}

func (c *Config) authorities(path, file string) {
	if raw := c.readable(path, file); raw != nil && !x509.NewCertPool().AppendCertsFromPEM(raw) {
		c.say(path, "%s: %s has no certificate in PEM form", path, strict.Quote(file))
	}
}
