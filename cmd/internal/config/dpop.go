package config

import (
	"time"

	"github.com/holdfast-authz/holdfast/cmd/internal/config/strict"
	"github.com/holdfast-authz/holdfast/extauthz/proof"
)

// maxProof is the longest that a used proof is remembered.
const maxProof = 30 * time.Minute

func (c *Config) checkDPoP() {
	c.positive("dpop.max_age", c.DPoP.MaxAge, ": at 0s no proof would be fresh enough")
	if life := c.DPoP.MaxAge + c.DPoP.FutureSkew; life > maxProof {
		c.say("dpop.max_age", "dpop.max_age and dpop.future_skew are %s together: a proof may be used for at most %s (RFC 9449, 11.1: seconds or minutes)", strict.Short(life), strict.Short(maxProof))
	}
	for i, origin := range c.DPoP.Origins {
		if _, err := proof.NewDPoP(proof.DPoPConfig{Origins: []string{origin}}); err != nil {
			path := index("dpop.origins", i)
			c.say(path, "%s: %s", path, err)
		}
	}
}
