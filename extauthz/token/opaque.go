package token

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"

	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// Introspection stands for the algorithm where no signature is checked.
const Introspection = "introspection"

// Opaque says who knows what credentials mean that are no JWT (RFC 7662).
type Opaque struct {
	Issuer string // one of Config.Issuers

	// Introspect asks the issuer. It answers within a bounded time: OK with
	// the claims of a token that is active, token_revoked for one that is not,
	// and keys_unavailable where it can not tell. Nil: all is refused that is
	// no JWT.
	Introspect func(token string) (claims *jose.Object, r reason.Reason)

	// MaxAge is how long an answer serves, counted from before it was asked
	// for, where Config.Good and Config.Bad keep it for so long.
	MaxAge time.Duration
}

// isJWT tells what is read as a JWT: two dots, and at its start the "{" of a
// JSON object in base64url. All else may be anybody's opaque token.
func isJWT(raw string) bool {
	return (strings.HasPrefix(raw, "ey") || strings.HasPrefix(raw, "ew")) && strings.Count(raw, ".") >= 2
}

// opaque judges a credential that only its issuer can read. A remembered
// answer spares the question and nothing else: time, binding, revocation and
// freshness are judged each time.
func (v *Verifier) opaque(raw string, now time.Time, s *Session) reason.Reason {
	if !b64token(raw) {
		return reason.TokenMalformed
	}
	i := v.issuers[v.c.Opaque.Issuer]
	if r, ok := v.answered(i, now, s); ok {
		return r
	}
	claims, r := v.c.Opaque.Introspect(raw)
	if v.c.Verified != nil && (r == reason.OK || r == reason.TokenRevoked) {
		v.c.Verified(i.Name, Introspection, r == reason.OK)
	}
	if r == reason.OK {
		r = v.active(i, claims, s)
	}
	if r != reason.OK {
		if r == reason.TokenRevoked {
			v.answer(i, now, s, r)
		}
		return r
	}
	v.answer(i, now, s, r)
	return s.timely(i, now)
}

// active reads what the issuer says of a token that is active (RFC 7662, 2.2).
// The issuer has checked the token, and may still mean another resource, or
// another kind of token: Keycloak and others answer for refresh tokens too.
func (v *Verifier) active(i *issuer, claims *jose.Object, s *Session) reason.Reason {
	if iss, there := claims.Get("iss"); there {
		if text, ok := iss.Text(); !ok {
			return reason.ClaimsInvalid
		} else if text != i.Name {
			return reason.IssuerUnknown
		}
	}
	s.Issuer, s.Asked = i.Name, true
	if r := audience(claims, i.Audiences); r != reason.OK {
		return r
	}
	kind, there := claims.Get("token_type")
	text, ok := kind.Text()
	switch {
	case there && !ok:
		return reason.ClaimsInvalid
	case there && !strings.EqualFold(text, "Bearer") && !strings.EqualFold(text, "DPoP"), !accessKind(claims), claims.Has("events"):
		return reason.TypeRefused
	}
	// Without iat nobody could say when a revocation of it may be forgotten.
	if !s.read(i, claims) || s.Until.IsZero() || s.Issued.IsZero() || s.Sub == "" && (claims.Has("sub") || s.SID == "" && s.Client == "") {
		return reason.ClaimsInvalid
	}
	// RFC 9449, 6.2: a token that is bound to a DPoP key says so.
	if there && s.Confirm.JKT != "" && !strings.EqualFold(text, "DPoP") {
		return reason.ClaimsInvalid
	}
	s.name(base64.RawURLEncoding.EncodeToString(s.digest[:]))
	v.classify(s, claims)
	return reason.OK
}

// answer remembers what the issuer said, from the moment when it was asked. An
// answer that another check has brought meanwhile stays: it is the older one.
func (v *Verifier) answer(i *issuer, asked time.Time, s *Session, r reason.Reason) {
	m, kind := v.c.Good, byte(entryActive)
	if r != reason.OK {
		m, kind = v.c.Bad, entryInactive
	}
	if m == nil {
		return
	}
	if _, known := v.heard(m, kind, i, asked, &s.digest); known {
		return
	}
	b := v.guard(kind, &s.digest, i.Name, [16]byte{})
	b = binary.LittleEndian.AppendUint64(b, uint64(asked.UnixNano()))
	if r == reason.OK {
		b = s.encode(b)
	}
	m.Put(&s.digest, b)
}

// answered looks for an answer that is still good at now.
func (v *Verifier) answered(i *issuer, now time.Time, s *Session) (r reason.Reason, ok bool) {
	if body, ok := v.heard(v.c.Good, entryActive, i, now, &s.digest); ok {
		if !s.decode(body) {
			*s = Session{digest: s.digest}
			return 0, false
		}
		s.Issuer, s.Asked = i.Name, true
		return s.timely(i, now), true
	}
	_, ok = v.heard(v.c.Bad, entryInactive, i, now, &s.digest)
	return reason.TokenRevoked, ok
}

// heard is one remembered answer, without its guard and time.
func (v *Verifier) heard(m Memo, kind byte, i *issuer, now time.Time, digest *[32]byte) (body []byte, ok bool) {
	body, of, keys := v.entry(m, kind, digest)
	if of != i || keys != ([16]byte{}) || len(body) < 8 {
		return nil, false
	}
	age := now.Sub(time.Unix(0, int64(binary.LittleEndian.Uint64(body))))
	return body[8:], age >= 0 && age <= v.c.Opaque.MaxAge
}

// b64token is the form of a bearer token (RFC 6750, 2.1). What is not of it
// can be no token of anybody's, and no question is asked.
func b64token(raw string) bool {
	body := strings.TrimRight(raw, "=")
	if body == "" {
		return false
	}
	for i := range len(body) {
		switch c := body[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == '_', c == '~', c == '+', c == '/':
		default:
			return false
		}
	}
	return true
}
