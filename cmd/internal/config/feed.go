package config

import (
	"net/url"
	"strings"
	"time"

	"github.com/holdfast-authz/holdfast/cmd/internal/config/strict"
)

func (c *Config) checkFeed() {
	f := &c.Feed
	if f.Embedded != nil {
		c.checkEmbedded(f.Embedded)
	}
	if f.NATS != nil {
		c.checkNATS(f)
	} else if c.file.Given("feed.snapshot.directory") {
		c.say("feed.snapshot.directory", "feed.snapshot.directory is for feed.nats: with an embedded feed it is feed.embedded.directory")
	}
	if c.file.Given("feed.key_file") && f.KeyFile == "" {
		c.say("feed.key_file", "feed.key_file is empty: leave it out to have a key made in the embedded directory")
	}
	c.positive("feed.snapshot.interval", f.Snapshot.Interval, ": leave it out for one a minute")
	c.positive("feed.max_age", f.MaxAge, ": at 0s the feed would always be stale")
	c.positive("feed.retention", f.Retention, ": a revocation must be kept as long as a token can live")

	var skew time.Duration
	for i := range c.Issuers {
		skew = max(skew, c.Issuers[i].ClockSkew)
	}
	for i := range c.Classes {
		// A class without max_lifetime leaves it to the issuer how long a
		// token lives; nothing can be said about it here.
		if class := &c.Classes[i]; class.MaxLifetime > 0 && f.Retention < class.MaxLifetime+skew {
			path := "feed.retention"
			if !c.file.Given(path) {
				path = index("classes", i) + ".max_lifetime"
			}
			c.say(path,
				"feed.retention is %s, but a token of class %s can live %s and clock_skew adds %s: its revocation would be forgotten before; make it at least %s",
				strict.Short(f.Retention), class.Name, strict.Short(class.MaxLifetime), strict.Short(skew), strict.Short(class.MaxLifetime+skew))
		}
	}
}

func (c *Config) checkEmbedded(e *Embedded) {
	c.nonEmpty("feed.embedded.directory", e.Directory)
	if e.Listen != "" {
		c.checkAddress("feed.embedded.listen", e.Listen)
		if strings.HasPrefix(e.Listen, "unix:") {
			c.say("feed.embedded.listen", "feed.embedded.listen is %s: other replicas join by host:port", strict.Quote(e.Listen))
		} else if e.TLS == nil && !isLocal(e.Listen) {
			c.say("feed.embedded.listen", "feed.embedded.listen %s is reachable from other machines: set feed.embedded.tls, or listen on 127.0.0.1", strict.Quote(e.Listen))
		}
	} else if e.TLS != nil {
		c.say("feed.embedded.tls", "feed.embedded.tls is set, and nobody can join: set feed.embedded.listen too")
	}
}

func (c *Config) checkNATS(f *Feed) {
	n := f.NATS
	if f.Embedded != nil {
		c.say("feed", "feed has both embedded and nats: its log is in one of them")
	}
	for i, server := range n.URLs {
		u, err := url.Parse(server)
		if err != nil || u.Scheme != "nats" && u.Scheme != "tls" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
			c.say(index("feed.nats.urls", i), "%s is no URL such as nats://10.0.0.7:4222 or tls://nats.example:4222", index("feed.nats.urls", i))
		}
	}
	if !streamName(n.Stream) {
		c.say("feed.nats.stream", "feed.nats.stream is %s: a stream's name has letters, digits, _ and -", strict.Quote(n.Stream))
	}
	if t := n.TLS; t != nil && (t.CertFile == "") != (t.KeyFile == "") {
		c.say("feed.nats.tls", "feed.nats.tls: cert_file and key_file go together")
	}
	if f.KeyFile == "" {
		c.say("feed.nats", "feed.key_file is not set: with feed.nats it names the key that all replicas have, a copy of the first one's feed.key")
	}
}

func streamName(name string) bool {
	return name != "" && len(name) <= 64 && !strings.ContainsFunc(name, func(r rune) bool {
		return r > 0x7f || !isAlnum(byte(r)) && r != '_' && r != '-'
	})
}
