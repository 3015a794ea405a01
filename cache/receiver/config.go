package receiver

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/holdfast-authz/holdfast/cache/jose"
)

// defaultSkew is the clock difference that an issuer may have by default
// (contract §2, clock_skew).
const defaultSkew = 30 * time.Second

// Config says from whom a receiver takes what. New has no use for it afterwards.
type Config struct {
	Issuer   string // iss of its tokens; required
	Audience string // one of their aud; required

	// Subjects are the issuers of the tokens that it may withdraw: where a
	// transmitter has another name than the issuer of the tokens. Empty: Issuer.
	Subjects []string

	Profile string        // of SETs: strict, keycloak, okta, google or sse; "": strict
	Skew    time.Duration // of its clock against ours; 0: 30s

	// Keys gives its keys, false while there are none: then the sender is told
	// to come again. Required.
	Keys func() (*jose.KeySet, bool)
	// KeyWanted is called when a token names a key that is not among them, so
	// that they may be fetched. It must not wait. nil: nothing is.
	KeyWanted func()

	// Bearer gives the secret that a push must come with, or a poll shows. nil:
	// none, and a push is known by its signature alone. "" refuses every push.
	Bearer func() string

	Sink Sink // required

	// These are for polling.
	URL      string        // the transmitter's poll endpoint
	Client   *http.Client  // to poll with; redirects are not followed
	Interval time.Duration // between polls that brought nothing; 0: 5s
}

// core is what the receivers have in common.
type core struct {
	Config
	profile  *profile
	reader   reader
	seen     seen
	patience patience
	stats    counters
	now      func() time.Time // for tests with tokens of another day
}

func newCore(c Config) (*core, error) {
	switch {
	case c.Issuer == "" || c.Audience == "":
		return nil, errors.New("receiver needs an issuer and an audience")
	case c.Keys == nil || c.Sink == nil:
		return nil, errors.New("receiver needs its issuer's keys and a sink")
	case c.Skew < 0 || c.Interval < 0:
		return nil, errors.New("receiver's skew or interval is negative")
	case slices.Contains(c.Subjects, ""):
		return nil, errors.New("receiver may withdraw tokens of an issuer that is empty")
	}
	if c.Skew == 0 {
		c.Skew = defaultSkew
	}
	if len(c.Subjects) == 0 {
		c.Subjects = []string{c.Issuer}
	}
	if len(c.Subjects) > maxTargets {
		return nil, fmt.Errorf("receiver may withdraw tokens of %d issuers; at most %d", len(c.Subjects), maxTargets)
	}
	p, err := findProfile(c.Profile)
	if err != nil {
		return nil, err
	}
	r := &core{Config: c, profile: p, patience: newPatience(), now: time.Now}
	r.reader = reader{profile: p, issuers: slices.Clone(c.Subjects)}
	return r, nil
}
