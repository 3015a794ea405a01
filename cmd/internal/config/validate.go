package config

import (
	"time"

	"github.com/holdfast-authz/holdfast/cmd/internal/config/strict"
)

// validate notes what is wrong with values that are well formed each.
func (c *Config) validate() {
	if c.Version != 1 {
		c.say("version", "version %d is not supported: this version of holdfast reads version 1", c.Version)
	}
	c.checkListeners()
	c.checkIssuers()
	c.checkCredentials()
	c.checkClasses()
	c.checkRoutes()
	c.checkDPoP()
	c.checkFeed()
	c.checkCaches()
	c.checkHeaders()
}

// say notes a problem with the value at a path.
func (c *Config) say(path, format string, args ...any) { c.file.Say(path, format, args...) }

// positive refuses a duration of zero: it would refuse everything, or was
// meant as "no limit".
func (c *Config) positive(path string, value time.Duration, zero string) {
	if value <= 0 {
		c.say(path, "%s must be longer than 0s%s", path, zero)
	}
}

func (c *Config) checkFeed() {
	f := &c.Feed
	c.nonEmpty("feed.embedded.directory", f.Embedded.Directory)
	if c.file.Given("feed.key_file") && f.KeyFile == "" {
		c.say("feed.key_file", "feed.key_file is empty: leave it out to have a key made in the embedded directory")
	}
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

func (c *Config) checkCaches() {
	c.positive("cache.tokens.ttl", c.Cache.Tokens.TTL, "")
	c.positive("cache.negative.ttl", c.Cache.Negative.TTL, "")
}

func (c *Config) nonEmpty(path, value string) {
	if value == "" {
		c.say(path, "%s is empty", path)
	}
}
