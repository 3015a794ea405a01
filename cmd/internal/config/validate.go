package config

import (
	"strings"
	"time"
)

// validator looks at values that are well formed each, and notes what is wrong
// with them together.
type validator struct {
	*Config
	d *decoder
}

func validate(c *Config, d *decoder) {
	v := &validator{c, d}
	if v.Version != 1 {
		v.say("version", "version %d is not supported: this version of holdfast reads version 1", v.Version)
	}
	v.listeners()
	v.issuers()
	v.credentials()
	v.classes()
	v.routes()
	v.feed()
	v.caches()
	v.headers()
}

// say notes a problem with the value at a path, or, where it has none, with
// what it should stand in. It is silent about values that are refused already.
func (v *validator) say(path, format string, args ...any) {
	for p := path; ; p = parent(p) {
		if v.d.bad[p] {
			return
		}
		if p == "" {
			break
		}
	}
	v.d.spoil(path)
	for p := path; ; p = parent(p) {
		if at, ok := v.d.values[p]; ok {
			v.d.add(at, format, args...)
			return
		}
		if p == "" {
			v.d.add(place{1, 1}, format, args...)
			return
		}
	}
}

// given tells whether the file sets a key.
func (v *validator) given(path string) bool {
	_, ok := v.d.keys[path]
	return ok
}

// positive refuses a duration of zero: it would refuse everything, or was
// meant as "no limit".
func (v *validator) positive(path string, value time.Duration, zero string) {
	if value <= 0 {
		v.say(path, "%s must be longer than 0s%s", path, zero)
	}
}

func (v *validator) feed() {
	f := &v.Feed
	v.nonEmpty("feed.embedded.directory", f.Embedded.Directory)
	if v.given("feed.key_file") && f.KeyFile == "" {
		v.say("feed.key_file", "feed.key_file is empty: leave it out to have a key made in the embedded directory")
	}
	v.positive("feed.max_age", f.MaxAge, ": at 0s the feed would always be stale")
	v.positive("feed.retention", f.Retention, ": a revocation must be kept as long as a token can live")

	var skew time.Duration
	for i := range v.Issuers {
		skew = max(skew, v.Issuers[i].ClockSkew)
	}
	for i := range v.Classes {
		// A class without max_lifetime leaves it to the issuer how long a
		// token lives; nothing can be said about it here.
		if c := &v.Classes[i]; c.MaxLifetime > 0 && f.Retention < c.MaxLifetime+skew {
			path := "feed.retention"
			if !v.given(path) {
				path = index("classes", i) + ".max_lifetime"
			}
			v.say(path,
				"feed.retention is %s, but a token of class %s can live %s and clock_skew adds %s: its revocation would be forgotten before; make it at least %s",
				short(f.Retention), c.Name, short(c.MaxLifetime), short(skew), short(c.MaxLifetime+skew))
		}
	}
}

func (v *validator) caches() {
	v.positive("cache.tokens.ttl", v.Cache.Tokens.TTL, "")
	v.positive("cache.negative.ttl", v.Cache.Negative.TTL, "")
}

func (v *validator) nonEmpty(path, value string) {
	if value == "" {
		v.say(path, "%s is empty", path)
	}
}

// short is a duration without the parts that are zero: 720h, not 720h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
