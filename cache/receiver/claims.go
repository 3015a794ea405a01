package receiver

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"mime"
	"strings"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/jose"
)

// maxBody bounds what a sender may send (contract §10).
const maxBody = 64 << 10

// errKeys is a token that can not be judged now.
var errKeys = errors.New("the issuer's keys are not there yet")

// verified is a token of the configured issuer, for us, with a good signature.
// Nothing else about it was checked.
type verified struct {
	claims   *jose.Object
	jti      string
	issued   time.Time
	content  cache.Key
	receiver string
}

// errKeyUnknown is a refusal of a token by a key that the issuer may have
// published since: whoever can wait does.
type errKeyUnknown struct{ *Refusal }

func (e errKeyUnknown) Unwrap() error { return e.Refusal }

// verify does what all kinds of tokens need. types are those that typ may be,
// "" among them where it may be missing.
func (r *core) verify(raw, receiver string, types ...string) (*verified, error) {
	t, err := jose.ParseLarge(raw, maxBody)
	switch {
	case errors.Is(err, jose.ErrAlgorithm):
		return nil, malformed("the algorithm of the token is none that is accepted")
	case err != nil:
		return nil, malformed("not a signed JWT in compact form")
	case !isType(t, types):
		return nil, malformed("typ is not " + types[0])
	}
	iss, err := text(t.Claims, "iss")
	if err != nil {
		return nil, err
	}
	if !r.profile.sameIssuer(iss, r.Issuer) {
		return nil, refuse(invalidIssuer, "iss is not the issuer that this endpoint is for")
	}
	if err := r.signature(t); err != nil {
		return nil, err
	}
	if err := r.audience(t.Claims); err != nil {
		return nil, err
	}
	v := &verified{claims: t.Claims, receiver: receiver}
	if v.jti, err = text(t.Claims, "jti"); err != nil {
		return nil, err
	}
	issued, _ := t.Claims.Get("iat")
	var ok bool
	if v.issued, ok = issued.NumericDate(); !ok {
		return nil, malformed("iat is missing or no time")
	}
	// The claims, not the signature: a transmitter may sign once more to repeat itself.
	_, payload, _ := strings.Cut(t.SigningInput, ".")
	sum := sha256.Sum256([]byte(payload))
	v.content = cache.Key(sum[:16])
	return v, nil
}

// isType compares typ as RFC 7515 section 4.1.9 wants: without case, with or
// without "application/".
func isType(t *jose.JWS, types []string) bool {
	name := strings.ToLower(t.Type)
	name = strings.TrimPrefix(name, "application/")
	for _, want := range types {
		if want == "" && !t.HasType || want != "" && name == want {
			return true
		}
	}
	return false
}

func (r *core) signature(t *jose.JWS) error {
	keys, ok := r.Keys()
	if !ok || keys == nil {
		return errKeys
	}
	_, err := keys.Verify(t)
	switch {
	case errors.Is(err, jose.ErrKeyUnknown):
		if r.KeyWanted != nil {
			r.KeyWanted()
		}
		return errKeyUnknown{refuse(invalidKey, "the key of the token is not known")}
	case err != nil:
		return refuse(invalidKey, "the signature does not verify")
	}
	return nil
}

// audience wants us in aud, a string or an array of them (RFC 7519, 4.1.3).
func (r *core) audience(claims *jose.Object) error {
	v, _ := claims.Get("aud")
	items, ok := v.Items()
	if !ok {
		items = []jose.Value{v}
	}
	found := false
	for _, item := range items {
		aud, ok := item.Text()
		if !ok {
			return refuse(invalidAudience, "aud is missing or not of strings")
		}
		found = found || r.profile.sameAudience(aud, r.Audience)
	}
	if !found {
		return refuse(invalidAudience, "aud does not name this receiver")
	}
	return nil
}

// lifetime wants an exp that is not over, and an iat that is not ahead.
func (r *core) lifetime(v *verified, now time.Time) error {
	value, _ := v.claims.Get("exp")
	exp, ok := value.NumericDate()
	switch {
	case !ok:
		return malformed("exp is missing or no time")
	case !now.Before(exp.Add(r.Skew)):
		return malformed("the token has expired")
	case v.issued.After(now.Add(r.Skew)):
		return malformed("iat is in the future")
	}
	return nil
}

// text reads a claim that must be a string with something in it.
func text(claims *jose.Object, name string) (string, error) {
	v, _ := claims.Get(name)
	s, _ := v.Text()
	if strings.TrimSpace(s) == "" || len(s) > cache.MaxValueBytes {
		return "", malformed(name + " is missing, empty, too long or not a string")
	}
	return s, nil
}

// source begins the Source of what a token means.
func (r *core) source(v *verified) Source {
	h := sha256.New()
	fmt.Fprintf(h, "holdfast receiver %s %d %s %s", v.receiver, len(r.Issuer), r.Issuer, v.jti)
	return Source{
		Receiver: v.receiver,
		Issuer:   r.Issuer,
		JTI:      v.jti,
		Request:  cache.Key(h.Sum(nil)[:16]),
		Content:  v.content,
	}
}

// isMedia compares a Content-Type without its parameters.
func isMedia(contentType, want string) bool {
	got, _, err := mime.ParseMediaType(contentType)
	return err == nil && got == want
}

func quote(text string) string { return fmt.Sprintf("%.64q", text) }
