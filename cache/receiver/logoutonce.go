package receiver

import (
	"errors"
	"net/http"
	"time"

	"github.com/holdfast-authz/holdfast/cache/jose"
)

// A logout is sent once, by senders who do not wait long: oidc-provider for
// 2.5 s, and neither it nor Keycloak tries again. What would be a refusal or a
// retry to a transmitter of SETs is a lost logout here.
const (
	// keyWait is how long a token waits for a key that was not published yet
	// when the keys were last fetched, whether its sender waits or not. Half a
	// second is enough for cache/jwks.
	keyWait  = 1500 * time.Millisecond
	keyEvery = 25 * time.Millisecond

	// keyWaiters may wait at one endpoint at the same time: anyone can make up
	// a token with a kid that nobody knows.
	keyWaiters = 64
)

// patience bounds how many wait for a key at one endpoint.
type patience chan struct{}

func newPatience() patience { return make(patience, keyWaiters) }

// patiently calls read, and again when the issuer has other keys, while all that
// is wrong with the token is that its key is not known. Where too many wait it
// says that the token can not be judged now.
func (r *core) patiently(read func() error) error {
	before, _ := r.Keys()
	err := read()
	if !lacksKey(err) {
		return err
	}
	select {
	case r.patience <- struct{}{}:
		defer func() { <-r.patience }()
	default:
		return errKeys
	}
	over := time.NewTimer(keyWait)
	defer over.Stop()
	tick := time.NewTicker(keyEvery)
	defer tick.Stop()
	for lacksKey(err) {
		select {
		case <-over.C:
			return err
		case <-tick.C:
		}
		if keys, ok := r.Keys(); ok && otherKeys(keys, before) {
			before, err = keys, read()
		}
	}
	return err
}

func lacksKey(err error) bool {
	var unknown errKeyUnknown
	return errors.Is(err, errKeys) || errors.As(err, &unknown)
}

func otherKeys(keys, before *jose.KeySet) bool {
	return keys != nil && (before == nil || keys.ID() != before.ID())
}

// begun wants nbf, where there is one, not to be ahead (RFC 7519, 4.1.5).
func (r *core) begun(v *verified, now time.Time) error {
	value, there := v.claims.Get("nbf")
	nbf, ok := value.NumericDate()
	switch {
	case there && !ok:
		return malformed("nbf is no time")
	case there && nbf.After(now.Add(r.Skew)):
		return malformed("the token is not valid yet")
	}
	return nil
}

// newUnprofiled is newCore for what has no profiles: those are of SETs.
func newUnprofiled(c Config) (*core, error) {
	if c.Profile != "" {
		return nil, errors.New("profiles are for SETs; this receiver has none")
	}
	return newCore(c)
}

// deny answers with an error as OAuth writes it.
func deny(w http.ResponseWriter, status int, code string, refusal *Refusal) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	writeJSON(w, map[string]string{"error": code, "error_description": refusal.Description})
}
