package token

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strconv"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

const maxDate = jose.MaxDate

// reader reads claims by their types and remembers whether one was wrong.
type reader struct {
	claims *jose.Object
	wrong  bool
}

// text reads an optional string; "" where it is absent. Exactly this name:
// no case folding, no trimming.
func (r *reader) text(name string) string {
	v, there := r.claims.Get(name)
	if !there {
		return ""
	}
	text, ok := v.Text()
	if !ok || len(text) > cache.MaxValueBytes {
		r.wrong = true
		return ""
	}
	return text
}

// date reads an optional NumericDate; zero where it is absent.
func (r *reader) date(name string) time.Time {
	v, there := r.claims.Get(name)
	if !there {
		return time.Time{}
	}
	t, ok := v.NumericDate()
	r.wrong = r.wrong || !ok
	return t
}

// read fills the session from the claims, and tells whether those that are
// there have their types. iss, aud and the time are judged elsewhere.
func (s *Session) read(i *issuer, claims *jose.Object) bool {
	r := reader{claims: claims}
	s.Until, s.Issued = r.date("exp"), r.date("iat")
	s.NotBefore, s.Auth = r.date("nbf"), r.date("auth_time")
	s.Sub = r.text("sub")
	s.SID = r.text(i.Claims.Session)
	s.JTI = r.text("jti")
	s.Tenant = r.text(i.Claims.Tenant)
	s.Device = r.text(i.Claims.Device)
	s.ACR = r.text("acr")
	s.Scope = r.text("scope")
	azp := r.text("azp")
	if s.Client = r.text(i.Claims.Client); s.Client == "" {
		s.Client = azp
	}
	// The registered names keep their types where others are configured.
	r.text("sid")
	r.text("client_id")
	s.Confirm = r.confirmation()
	s.StatusURI, s.StatusIndex = r.status()
	return !r.wrong
}

// complete tells whether a JWT has what is required of one (contract §10).
// Keycloak's lightweight tokens have a sid, and no sub.
func (s *Session) complete(claims *jose.Object) bool {
	return !s.Until.IsZero() && !s.Issued.IsZero() && (s.Sub != "" || s.SID != "" && !claims.Has("sub"))
}

// audience judges aud (RFC 7519 section 4.1.3): one string or a list of them.
func audience(claims *jose.Object, ours []string) reason.Reason {
	v, _ := claims.Get("aud")
	if text, ok := v.Text(); ok {
		return match(slices.Contains(ours, text))
	}
	items, ok := v.Items()
	if !ok {
		return reason.ClaimsInvalid
	}
	found := false
	for _, item := range items {
		text, ok := item.Text()
		if !ok {
			return reason.ClaimsInvalid
		}
		found = found || slices.Contains(ours, text)
	}
	return match(found)
}

func match(found bool) reason.Reason {
	if found {
		return reason.OK
	}
	return reason.AudienceMismatch
}

// otherMethods are the registered confirmation methods (RFC 7800 section 6.2
// and later) that can not be checked here. To ignore one would make a bound
// token a bearer token. Members that are not registered are no methods.
var otherMethods = [...]string{"jwk", "jwe", "kid", "jku", "osc"}

// confirmation reads cnf. null and {} confirm nothing and are still no
// licence to come without a proof.
func (r *reader) confirmation() (c Confirmation) {
	v, there := r.claims.Get("cnf")
	if !there {
		return c
	}
	c.Present = true
	methods, ok := v.Object()
	if !ok {
		c.Unsupported = true
		r.wrong = r.wrong || v.Kind() != jose.Null
		return c
	}
	c.X5T = r.thumbprint(methods, "x5t#S256")
	c.JKT = r.thumbprint(methods, "jkt")
	c.Unsupported = c.X5T == "" && c.JKT == "" || slices.ContainsFunc(otherMethods[:], methods.Has)
	return c
}

// status reads the reference to a status list
// (draft-ietf-oauth-status-list, 6.2). What status says otherwise is not ours;
// a reference that can not be read is no licence to do without the list.
func (r *reader) status() (uri string, index uint64) {
	v, _ := r.claims.Get("status")
	ways, ok := v.Object()
	if !ok || !ways.Has("status_list") {
		return "", 0
	}
	list, _ := ways.Get("status_list")
	at, ok := list.Object()
	if !ok {
		r.wrong = true
		return "", 0
	}
	idx, _ := at.Get("idx")
	index, err := strconv.ParseUint(idx.Raw(), 10, 64)
	where := reader{claims: at}
	uri = where.text("uri")
	r.wrong = r.wrong || where.wrong || uri == "" || err != nil || idx.Kind() != jose.Number
	return uri, index
}

// thumbprint reads a SHA-256 digest in base64url: 43 characters, no second
// spelling. Hex, padding and a SHA-1 are a broken issuer, not an unbound token.
func (r *reader) thumbprint(methods *jose.Object, name string) string {
	v, there := methods.Get(name)
	if !there {
		return ""
	}
	text, _ := v.Text()
	sum, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(sum) != sha256.Size || len(text) != base64.RawURLEncoding.EncodedLen(sha256.Size) {
		r.wrong = true
		return ""
	}
	return text
}

// name sets a digest for each kind by which a revocation can name the session.
// hash is the value of the kind token_hash.
func (s *Session) name(hash string) {
	binding := s.Confirm.X5T
	if binding == "" {
		binding = s.Confirm.JKT
	} else if s.Confirm.JKT != "" {
		s.OtherKey = cache.KeyOf(cache.BindingKey, "", s.Confirm.JKT)
	}
	for _, by := range [...]struct {
		kind  cache.Kinds
		value string
	}{
		{cache.Token, s.JTI},
		{cache.Session, s.SID},
		{cache.User, s.Sub},
		{cache.Client, s.Client},
		{cache.Tenant, s.Tenant},
		{cache.Issuer, s.Issuer},
		{cache.SigningKey, s.KeyID},
		{cache.BindingKey, binding},
		{cache.Device, s.Device},
		{cache.TokenHash, hash},
	} {
		if by.value != "" {
			s.Subject.Set(by.kind, cache.KeyOf(by.kind, s.Issuer, by.value))
		}
	}
}
