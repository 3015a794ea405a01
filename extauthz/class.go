package extauthz

import (
	"slices"

	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/extauthz/token"
)

// MaxClasses bounds the classes of a configuration: a verified token remembers
// the classes that its claims fit as a set of bits.
const MaxClasses = 64

// Class is a kind of session: the first one that matches sets its demands.
type Class struct {
	Name   string
	Match  ClassMatch
	Demand Demand
	Mode   Mode

	// LoginURL is where a browser is sent instead of a 401; {url} in it is the
	// request's own URL. "" sends nobody anywhere.
	LoginURL string
}

// ClassMatch says which sessions belong to a class. All that is named must
// hold; a list means one of. The zero ClassMatch takes every session.
type ClassMatch struct {
	Credentials []CredentialKind
	Issuers     []string
	Clients     []string
	Types       []string // JOSE typ in lower case, without "application/"; "" = absent
	Claims      map[string][]string
}

// Classify tells which classes a verified token's own content fits, as a set
// of bits. It is called once a token; how the credential was carried counts at
// each request.
func (p *Policy) Classify(typ string, s *token.Session, claims *jose.Object) (fits uint64) {
	for i := range p.classes {
		m := &p.classes[i].Match
		if oneOf(m.Issuers, s.Issuer) && oneOf(m.Clients, s.Client) && oneOf(m.Types, typ) &&
			claimsFit(m.Claims, claims, s) {
			fits |= 1 << i
		}
	}
	return fits
}

// oneOf takes everything where nothing is listed.
func oneOf(list []string, value string) bool {
	return len(list) == 0 || slices.Contains(list, value)
}

// claimsFit compares claims. What has none of its own, an API key or a
// certificate, has those that its session amounts to.
func claimsFit(want map[string][]string, claims *jose.Object, s *token.Session) bool {
	for name, values := range want {
		if claims == nil {
			if got := sessionClaim(s, name); got == "" || !slices.Contains(values, got) {
				return false
			}
			continue
		}
		got, ok := claims.Get(name)
		if !ok || !slices.ContainsFunc(values, func(v string) bool { return claimIs(&got, v) }) {
			return false
		}
	}
	return true
}

// sessionClaim is "" for what the session does not have.
func sessionClaim(s *token.Session, name string) string {
	switch name {
	case "sub":
		return s.Sub
	case "client_id":
		return s.Client
	case "tenant":
		return s.Tenant
	case "jti":
		return s.JTI
	}
	return ""
}

func oneKind(list []CredentialKind, kind CredentialKind) bool {
	return len(list) == 0 || slices.Contains(list, kind)
}

// class picks the first class that fits, by the token and by its carrier.
func (p *Policy) class(fits uint64, kind CredentialKind) int {
	for i := range p.classes {
		if fits&(1<<i) == 0 {
			continue
		}
		if oneKind(p.classes[i].Match.Credentials, kind) {
			return i
		}
	}
	return noClass
}

// claimIs compares a claim with a configured word: a string or number by its
// text, true and false by their names, a list by holding one that is equal.
func claimIs(v *jose.Value, want string) bool {
	if text, ok := v.Text(); ok {
		return text == want
	}
	if items, ok := v.Items(); ok {
		return slices.ContainsFunc(items, func(item jose.Value) bool {
			text, ok := item.Text()
			return ok && text == want
		})
	}
	if _, ok := v.Object(); ok {
		return false
	}
	return v.Raw() == want
}
