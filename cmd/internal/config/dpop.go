package config

import (
	"github.com/holdfast-authz/holdfast/extauthz/proof"
)

func (c *Config) checkDPoP() {
	c.positive("dpop.max_age", c.DPoP.MaxAge, ": at 0s no proof would be fresh enough")
	for i, origin := range c.DPoP.Origins {
		if _, err := proof.NewDPoP(proof.DPoPConfig{Origins: []string{origin}}); err != nil {
			path := index("dpop.origins", i)
			c.say(path, "%s: %s", path, err)
		}
	}
}
