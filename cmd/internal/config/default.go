package config

import (
	"path/filepath"
	"reflect"
	"time"
)

// defaulter is a type that knows what its keys mean when they are left out.
type defaulter interface{ setDefaults() }

func (c *Config) setDefaults() {
	c.Version = 1
	c.Mode = "enforce"
	c.Listen.Check.Address = "127.0.0.1:9191"
	c.Listen.Admin.Address = "127.0.0.1:9292"
	c.Credentials = []Credential{{Header: "authorization"}}
	c.AmbiguousPaths = "reject"
	c.MTLS.Source = "connection"
	c.Drain.Timeout = 20 * time.Second
	c.Cache.Tokens = Memo{TTL: 5 * time.Minute, MaxMB: 64}
	c.Cache.Negative = Memo{TTL: 5 * time.Second, MaxMB: 8}
}

func (i *Issuer) setDefaults() {
	i.Algorithms = []string{"ES256", "ES384", "EdDSA", "PS256", "RS256"}
	i.TokenTypes = []string{"at+jwt"}
	i.ClockSkew = 30 * time.Second
	i.Refresh = 5 * time.Minute
	i.Claims = ClaimNames{Session: "sid", Client: "client_id", Tenant: "tenant", Device: "device_id"}
}

func (c *Class) setDefaults() { c.OnFeedStale = "error" }

func (f *Feed) setDefaults() {
	f.Embedded.Directory = "./data"
	f.MaxAge = 10 * time.Second
	f.Retention = 720 * time.Hour
}

func (h *Headers) setDefaults() {
	h.Subject = "x-holdfast-subject"
	h.Session = "x-holdfast-session"
	h.Class = "x-holdfast-class"
	h.Remove = []string{"dpop"}
}

func (l *DecisionLog) setDefaults() {
	l.Format = "json"
	l.Destination = Destination{Stream: "stdout"}
	l.SampleAllow = 0.01
}

func (l *Limits) setDefaults() { l.MaxTokenBytes = 8192 }

// derive fills in the defaults that depend on other keys.
func (c *Config) derive() {
	if _, given := c.set["feed.key_file"]; !given {
		c.Feed.KeyFile = filepath.Join(c.Feed.Embedded.Directory, "feed.key")
	}
}

// setDefaults gives v and the structs inside it their defaults; lists stay
// empty, their elements get theirs when they are read.
func setDefaults(v reflect.Value) {
	if v.Kind() != reflect.Struct {
		return
	}
	for i := range v.NumField() {
		if v.Type().Field(i).IsExported() {
			setDefaults(v.Field(i))
		}
	}
	if d, ok := v.Addr().Interface().(defaulter); ok {
		d.setDefaults()
	}
}
