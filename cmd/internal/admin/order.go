package admin

import (
	"encoding/base64"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/holdfast-authz/holdfast/cache"
)

// actor names who asked, in the feed and in the log. There is one token, so
// there is one actor.
const actor = "admin"

// events turns what was asked for into what the feed stores, or says all that
// is wrong with it.
func (o *order) events(c *Config, now time.Time, force bool) ([]cache.Event, error) {
	events := make([]cache.Event, len(o.items))
	for i := range o.items {
		at := ""
		if o.array {
			at = pointerTo(i)
		}
		o.items[i].Force = o.items[i].Force || force
		events[i] = o.event(&o.items[i], at, c, now)
	}
	switch {
	case len(o.faults) > 0:
		return nil, &problem{Status: http.StatusBadRequest, Code: "invalid_revocation", Errors: o.faults,
			Detail: o.faults[0].String() + "; nothing was stored"}
	case len(o.short) > 0:
		return nil, &problem{Status: http.StatusUnprocessableEntity, Code: "ttl_too_short", Errors: o.short,
			Detail: o.short[0].String() + "; nothing was stored"}
	}
	return events, nil
}

func (f fault) String() string {
	return strings.TrimPrefix(strings.TrimPrefix(f.Pointer, "/")+" "+f.Detail, " ")
}

func (o *order) event(it *item, at string, c *Config, now time.Time) cache.Event {
	e := cache.Event{Op: cache.OpRevoke, Issuer: it.Issuer, Value: it.Value, Reason: it.Reason, Actor: actor}
	kind, err := cache.ParseKind(it.Kind)
	if err != nil {
		o.faults.add(at+"/kind", "is not one of %s", kindWords())
		return e
	}
	e.Kinds = kind
	o.checkNames(it, at, kind, c)
	if len(it.Reason) > cache.MaxReasonBytes {
		o.faults.add(at+"/reason", "is over %d bytes", cache.MaxReasonBytes)
	}
	e.Key = cache.KeyOf(kind, e.Issuer, e.Value)
	e.Before = o.notBefore(it, at, now, c.skew(issuerOf(kind, it)))
	e.Until = wholeSecond(now.Add(o.ttl(it, at, kind, c)))
	if err := e.Validate(); err != nil && len(o.faults) == 0 {
		o.faults.add(at, "%v", err)
	}
	return e
}

// issuerOf is the issuer whose tokens a revocation hits; "" is all of them.
func issuerOf(kind cache.Kinds, it *item) string {
	if kind == cache.Issuer {
		return it.Value
	}
	return it.Issuer
}

// checkNames holds value and issuer against the kind. A revocation that could
// never hit anything is refused: whoever mistyped must not feel safe.
func (o *order) checkNames(it *item, at string, kind cache.Kinds, c *Config) {
	if why := badValue(it.Value); why != "" {
		o.faults.add(at+"/value", "%s", why)
	}
	switch {
	case kind == cache.TokenHash || kind == cache.BindingKey:
		if !isDigest(it.Value) {
			o.faults.add(at+"/value", "is not a SHA-256 in base64url: 43 characters, no padding")
		}
	case kind == cache.Issuer && !c.known(it.Value):
		o.faults.add(at+"/value", "is not the name of a configured issuer")
	}
	switch {
	case kind == cache.BindingKey && it.Issuer == "":
		// A thumbprint is the same at every issuer; naming one changes nothing.
	case kind != cache.BindingKey && !kind.InIssuer() && it.Issuer != "":
		o.faults.add(at+"/issuer", "does not go with kind %s, which is the same at every issuer", kind)
	case kind.InIssuer() && it.Issuer == "":
		o.faults.add(at+"/issuer", "is missing: a %s is only unique inside one", kind)
	case kind != cache.Issuer && kind != cache.TokenHash && !c.known(it.Issuer):
		o.faults.add(at+"/issuer", "is not the name of a configured issuer")
	}
}

// badValue says why a value can name nothing. It never repeats the value: it
// may be a credential that was pasted by mistake.
func badValue(v string) string {
	scheme, _, hasSpace := strings.Cut(v, " ")
	switch {
	case v == "":
		return "is missing or empty"
	case strings.TrimSpace(v) == "":
		return "is nothing but white space"
	case v == "*":
		return "is a wildcard; a revocation names one thing, exactly"
	case strings.ContainsFunc(v, unicode.IsControl):
		return "has control characters in it"
	case len(v) > cache.MaxValueBytes:
		return "is too long"
	case hasSpace && (strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "DPoP")),
		strings.HasPrefix(v, "eyJ") && strings.Count(v, ".") >= 2:
		return "looks like a whole token; name its jti, or its hash with kind token_hash"
	}
	return ""
}

func isDigest(v string) bool {
	sum, err := base64.RawURLEncoding.Strict().DecodeString(v)
	return err == nil && len(v) == 43 && len(sum) == 32
}

// notBefore reads the cut-off. Every token that was issued in its second is
// hit: iat and auth_time are whole seconds, rounded down.
func (o *order) notBefore(it *item, at string, now time.Time, skew time.Duration) time.Time {
	if it.NotBefore == "" {
		return now.UTC().Truncate(time.Second)
	}
	t, err := time.Parse(time.RFC3339, it.NotBefore)
	switch {
	case err != nil || len(it.NotBefore) > len(time.RFC3339Nano)+10:
		o.faults.add(at+"/not_before", "is not a time such as 2026-01-02T15:04:05Z")
	case t.Unix() < 0:
		o.faults.add(at+"/not_before", "lies before 1970")
	case t.After(now.Add(skew)):
		// A cut-off ahead of the clock would deny logins that are still to come.
		o.faults.add(at+"/not_before", "lies in the future by more than the clock skew of %v", skew)
	}
	return t.UTC().Truncate(time.Second)
}

// forEver is how long a revocation is kept that nothing but unrevoke ends.
const forEver = 100 * 365 * 24 * time.Hour

// ttl is how long a revocation holds: as long as is asked for, and unless that
// is forced, as long as a credential that it hits can be accepted.
func (o *order) ttl(it *item, at string, kind cache.Kinds, c *Config) time.Duration {
	issuer := issuerOf(kind, it)
	d := c.Retention
	switch {
	case it.TTL != "":
		var err error
		if d, err = time.ParseDuration(it.TTL); err != nil || d <= 0 {
			o.faults.add(at+"/ttl", "is not a duration above 0, such as 12h")
			return c.Retention
		}
	case c.lasting(issuer, kind):
		return forEver
	}
	if it.Force {
		return d
	}
	life := c.longestLife(issuer)
	if issuer != "" && c.lasting(issuer, kind) {
		life = forEver
	}
	if it.TTL != "" && d < life {
		o.short.add(at+"/ttl", "is shorter than the %v that a token hit by it can live, so that it would come back; "+
			"leave ttl out, or use force", life)
	}
	// The skew lets a token begin ahead of our clock and end behind it.
	return max(d, life+2*c.skew(issuer))
}

// lasting tells whether a revocation may hit a credential that has no end. A
// hash may be that of one.
func (c *Config) lasting(issuer string, kind cache.Kinds) bool {
	for i := range c.Issuers {
		if c.Issuers[i].Lasting && (kind == cache.TokenHash || c.Issuers[i].Name == issuer) {
			return true
		}
	}
	return false
}

func (c *Config) known(issuer string) bool {
	for i := range c.Issuers {
		if c.Issuers[i].Name == issuer {
			return true
		}
	}
	return false
}

// skew is the clock skew of an issuer, the largest of all for "".
func (c *Config) skew(issuer string) (skew time.Duration) {
	for i := range c.Issuers {
		if issuer == "" || c.Issuers[i].Name == issuer {
			skew = max(skew, c.Issuers[i].ClockSkew)
		}
	}
	return skew
}

// longestLife is how long a token of an issuer can be accepted, of any for "".
func (c *Config) longestLife(issuer string) (life time.Duration) {
	for i := range c.Issuers {
		if issuer == "" || c.Issuers[i].Name == issuer {
			life = max(life, c.Issuers[i].MaxLife)
		}
	}
	return life
}

// wholeSecond rounds up: towards denial.
func wholeSecond(t time.Time) time.Time {
	t = t.UTC()
	if t.Nanosecond() > 0 {
		t = t.Truncate(time.Second).Add(time.Second)
	}
	return t
}

func kindWords() string {
	var words []string
	for _, k := range cache.AllKinds() {
		words = append(words, k.String())
	}
	return strings.Join(words, ", ")
}
