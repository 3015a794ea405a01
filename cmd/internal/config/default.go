package config

import (
	"path/filepath"
	"time"
)

// What keys mean when they are left out.

func (c *Config) SetDefaults() {
	c.Version = 1
	c.Mode = "enforce"
	c.Listen.Check.Address = "127.0.0.1:9191"
	c.Listen.Admin.Address = "127.0.0.1:9292"
	c.Credentials = []Credential{{Header: "authorization"}}
	c.AmbiguousPaths = "reject"
	c.DPoP = DPoP{MaxAge: time.Minute, FutureSkew: 5 * time.Second, Replay: "shared", Nonce: "off"}
	c.MTLS.Source = "connection"
	c.Drain.Timeout = 20 * time.Second
	c.Cache.Tokens = Memo{TTL: 5 * time.Minute, MaxMB: 64}
	c.Cache.Negative = Memo{TTL: 5 * time.Second, MaxMB: 8}
}

func (i *Issuer) SetDefaults() {
	i.Algorithms = []string{"ES256", "ES384", "EdDSA", "PS256", "RS256"}
	i.TokenTypes = []string{"at+jwt"}
	i.ClockSkew = 30 * time.Second
	i.Refresh = 5 * time.Minute
	i.Claims = ClaimNames{Session: "sid", Client: "client_id", Tenant: "tenant", Device: "device_id"}
}

func (i *Introspection) SetDefaults() {
	i.Timeout = 200 * time.Millisecond
	i.MaxTTL = 10 * time.Second
}

func (c *Class) SetDefaults() { c.OnFeedStale = "error" }

func (f *Feed) SetDefaults() {
	f.MaxAge = 10 * time.Second
	f.Retention = 720 * time.Hour
	f.Snapshot.Interval = time.Minute
}

func (e *Embedded) SetDefaults() { e.Directory = "./data" }

func (n *NATS) SetDefaults() { n.Stream = "HOLDFAST" }

func (s *SSFPush) SetDefaults() { s.Profile = "strict" }

func (s *SSFPoll) SetDefaults() {
	s.Profile = "strict"
	s.Interval = 5 * time.Second
}

func (h *Headers) SetDefaults() {
	h.Subject = "x-holdfast-subject"
	h.Session = "x-holdfast-session"
	h.Class = "x-holdfast-class"
	h.Remove = []string{"dpop"}
}

func (l *DecisionLog) SetDefaults() {
	l.Format = "json"
	l.Destination = Destination{Stream: "stdout"}
	l.SampleAllow = 0.01
}

func (l *Limits) SetDefaults() { l.MaxTokenBytes = 8192 }

// derive fills in the defaults that depend on other keys.
func (c *Config) derive() {
	f := &c.Feed
	switch {
	case f.NATS == nil && f.Embedded == nil:
		f.Embedded = &Embedded{}
		f.Embedded.SetDefaults()
	case f.NATS != nil && !c.file.Given("feed.snapshot.directory"):
		f.Snapshot.Directory = "./data"
	}
	if !c.file.Given("feed.key_file") && f.NATS == nil {
		f.KeyFile = filepath.Join(f.Embedded.Directory, "feed.key")
	}
	for i := range c.Issuers {
		if is, path := &c.Issuers[i], index("issuers", i); is.TrustDomain != "" {
			if !c.file.Given(path + ".algorithms") {
				is.Algorithms = []string{"ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"}
			}
			if !c.file.Given(path + ".token_types") {
				is.TokenTypes = []string{"JWT", "JOSE", ""}
			}
		}
	}
}
