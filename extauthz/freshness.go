package extauthz

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-authz/holdfast/extauthz/reason"
	"github.com/holdfast-authz/holdfast/extauthz/token"
)

// fresh holds a session's times and strength against what is demanded. Clock
// skew does not count here (contract §10): it belongs to exp, nbf and iat.
func (c *Checker) fresh(s *token.Session, kind CredentialKind, d *demand, now time.Time) reason.Reason {
	switch {
	case over(d.maxLifetime, lifetime(s)), c.outlives(s):
		return reason.LifetimeTooLong
	case over(d.maxAge, now.Sub(s.Issued)):
		return reason.TokenTooOld
	case d.absoluteTimeout > 0 && c.sessionTooOld(s, kind, d.absoluteTimeout, now):
		return reason.SessionExpired
	case d.maxAuthAge > 0 && authTooOld(s, d.maxAuthAge, now):
		return reason.AuthTooOld
	}
	for _, accepted := range d.acr {
		if !slices.Contains(accepted, s.ACR) {
			return reason.ACRInsufficient
		}
	}
	for _, scope := range d.scopes {
		if !hasScope(s.Scope, scope) {
			return reason.ScopeInsufficient
		}
	}
	return reason.OK
}

// lifetime is without end where iat or exp is not known.
func lifetime(s *token.Session) time.Duration {
	if s.Issued.IsZero() || s.Until.IsZero() {
		return math.MaxInt64
	}
	return s.Until.Sub(s.Issued)
}

// outlives tells whether a session could be accepted when a revocation of it
// is forgotten.
func (c *Checker) outlives(s *token.Session) bool {
	return !s.Lasting && over(c.Policy.maxKept, lifetime(s))
}

func over(limit, age time.Duration) bool { return limit > 0 && age > limit }

// maxAuthAhead is how far auth_time may lie after iat: the clocks of an
// issuer's own machines. More is no time at which anybody can have logged in.
const maxAuthAhead = time.Minute

// sessionTooOld counts from auth_time, else from the first iat seen of the
// session: a refresh renews iat, and must not renew the session. An impossible
// auth_time would keep a session for ever: it counts as too old.
func (c *Checker) sessionTooOld(s *token.Session, kind CredentialKind, limit time.Duration, now time.Time) bool {
	if !s.Auth.IsZero() {
		return now.Sub(began(s)) > limit || authAhead(s)
	}
	first := s.Issued
	if key, ok := s.Subject.SessionKey(); ok && c.Beginnings != nil && !renewed(kind) {
		first = time.Unix(c.Beginnings.First(key, s.Issued.Unix()), 0)
	}
	return now.Sub(first) > limit
}

// authTooOld: a missing auth_time is not a fresh one (RFC 9470, 5), nor is an
// impossible one. iat is no substitute: a refresh renews it.
func authTooOld(s *token.Session, limit time.Duration, now time.Time) bool {
	return s.Auth.IsZero() || now.Sub(s.Auth) > limit || authAhead(s)
}

// authAhead is an auth_time that can not be: nobody logs in after the token
// that says so was issued, unless its issuer was asked in the meantime.
func authAhead(s *token.Session) bool {
	return !s.Asked && s.Auth.Sub(s.Issued) > maxAuthAhead
}

// renewed: a key that is exchanged and a certificate that is rotated are new
// credentials, and nobody logs in with either. Each is as old as it says.
func renewed(kind CredentialKind) bool {
	return kind == CredentialAPIKey || kind == CredentialCertificate
}

// hasScope looks for one scope among those of the claim, which single spaces
// separate (RFC 6749, 3.3).
func hasScope(scopes, want string) bool {
	for rest := scopes; rest != ""; {
		var one string
		one, rest, _ = strings.Cut(rest, " ")
		if one == want {
			return true
		}
	}
	return false
}
