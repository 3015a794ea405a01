// Package proof checks that the caller is the one its token was issued to.
// A token names its key in cnf (RFC 7800); the method that proves it stands in
// a file of its own: mtls.go (RFC 8705), dpop.go (RFC 9449), spiffe.go.
package proof

import (
	"crypto/subtle"
	"time"

	"github.com/holdfast-authz/holdfast/extauthz/reason"
	"github.com/holdfast-authz/holdfast/extauthz/token"
)

// Methods is a set of ways to prove possession.
type Methods uint8

// The words of the configuration's binding lists.
const (
	DPoP   Methods = 1 << iota // RFC 9449
	MTLS                       // RFC 8705
	SPIFFE                     // the peer's SPIFFE ID is the token's sub: MatchSPIFFE
)

// ParseMethod reads the configuration's word.
func ParseMethod(word string) (Methods, bool) {
	switch word {
	case "dpop":
		return DPoP, true
	case "mtls":
		return MTLS, true
	case "spiffe":
		return SPIFFE, true
	}
	return 0, false
}

// Presented is what the request brings to prove possession with.
type Presented struct {
	Peer   PeerCertificate
	PeerOK bool // false: what the proxy says of the certificate is no certificate

	Token      string // as it was sent
	DPoPScheme bool   // the token came with the DPoP scheme
	DPoP       string // the DPoP header field
	DPoPs      int    // how many there are

	Method, Scheme, Host, Path string
}

// Check proves what the token's own confirmation asks for, all of it, and says
// which methods hold. A bound token without its proof is never taken for a
// bearer token. used is the DPoP proof that held, if there is one: the caller
// has to see that it is new. A nil dpop checks no proofs, so that none holds.
func Check(p *Presented, c *token.Confirmation, dpop *DPoPChecker, nonces *Nonces, now time.Time, used *Proof) (Methods, reason.Reason) {
	if c.Unsupported {
		return 0, reason.BindingUnsupported
	}
	var proven Methods
	if c.X5T != "" {
		if p.PeerOK && !p.Peer.Present {
			return 0, reason.BindingMissing
		}
		if !p.PeerOK || subtle.ConstantTimeCompare([]byte(p.Peer.X5T), []byte(c.X5T)) != 1 {
			return 0, reason.BindingMismatch
		}
		proven |= MTLS
	}
	switch {
	case c.JKT == "" && !p.DPoPScheme:
		return proven, reason.OK
	case c.JKT != "" && !p.DPoPScheme:
		return 0, reason.BindingMissing // RFC 9449, 7.2: never as Bearer
	case c.JKT == "" && (c.X5T == "" || p.DPoPs == 0):
		return 0, reason.BindingMismatch // RFC 9449, 7.1: no key to hold a proof against
	case p.DPoPs == 0:
		return 0, reason.DPoPMissing
	case p.DPoPs > 1:
		return 0, reason.DPoPInvalid
	case dpop == nil:
		return 0, reason.BindingUnsupported // a proof that nobody has checked proves nothing
	}
	// A token that is bound to a certificate may come with a proof by any key
	// (Keycloak with both switches on): that key proves nothing more.
	if r := dpop.Check(p.DPoP, p.Method, p.Scheme, p.Host, p.Path, p.Token, c.JKT, now, nonces, used); r != reason.OK {
		return 0, r
	}
	if c.JKT != "" {
		proven |= DPoP
	}
	return proven, reason.OK
}
