package config

import "time"

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
	c.checkReceivers()
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

func (c *Config) checkCaches() {
	c.positive("cache.tokens.ttl", c.Cache.Tokens.TTL, "")
	c.positive("cache.negative.ttl", c.Cache.Negative.TTL, "")
}

func (c *Config) nonEmpty(path, value string) {
	if value == "" {
		c.say(path, "%s is empty", path)
	}
}
