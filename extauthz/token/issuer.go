package token

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-authz/holdfast/cache/jose"
)

// Issuer is what the configuration says of one issuer.
type Issuer struct {
	Name       string        // iss, compared byte by byte
	Audiences  []string      // the token must carry one of them; required
	Algorithms []string      // default ES256, ES384, EdDSA, PS256, RS256; a trust domain's: all but EdDSA
	Types      []string      // JOSE typ; default at+jwt; "" lets tokens without typ in; a trust domain's: JWT, JOSE, ""
	Skew       time.Duration // for exp, nbf and iat; 0 to 5m
	Claims     ClaimNames

	// TrustDomain: Name is a SPIFFE trust domain, whose tokens have no iss: the
	// domain of sub picks the keys (JWT-SVID, 3). Its X.509-SVIDs are sessions.
	TrustDomain bool
	// Opaque: it issues no tokens that keys could verify; see Config.Opaque.
	Opaque bool
}

// ClaimNames says where an issuer puts what it has no registered claim for.
// An empty name is the default: sid, client_id, tenant, device_id.
type ClaimNames struct {
	Session, Client, Tenant, Device string
}

// maxSkew bounds the clock difference between an issuer and us. More would
// revive tokens that ended (security case TI06).
const maxSkew = 5 * time.Minute

// issuer is an Issuer made ready.
type issuer struct {
	Issuer
}

func compile(c Issuer) (*issuer, error) {
	i := &issuer{Issuer: c}
	switch {
	case c.Name == "":
		return nil, errors.New("issuer without a name")
	case len(c.Audiences) == 0 || slices.Contains(c.Audiences, ""):
		return nil, fmt.Errorf("issuer %q: audiences are missing or one is empty", c.Name)
	case c.Skew < 0 || c.Skew > maxSkew:
		return nil, fmt.Errorf("issuer %q: clock skew %v is not from 0 to %v", c.Name, c.Skew, maxSkew)
	}
	if id, ok := ParseSPIFFEID(spiffeScheme + c.Name); c.TrustDomain && (!ok || id.Path() != "") {
		return nil, fmt.Errorf("trust domain %q: it is lower-case letters, digits, dots, dashes and underscores, without spiffe://", c.Name)
	}
	switch {
	case len(c.Algorithms) > 0:
	case c.TrustDomain: // JWT-SVID, 2.1
		c.Algorithms = []string{"ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"}
	default:
		c.Algorithms = []string{"ES256", "ES384", "EdDSA", "PS256", "RS256"}
	}
	i.Algorithms = nil
	for _, name := range c.Algorithms {
		alg, ok := jose.Algorithm(name)
		if !ok {
			return nil, fmt.Errorf("issuer %q: algorithm %q is not an asymmetric one that is known", c.Name, name)
		}
		i.Algorithms = append(i.Algorithms, alg)
	}
	switch {
	case len(c.Types) > 0:
	case c.TrustDomain: // JWT-SVID, 2.3
		c.Types = []string{"JWT", "JOSE", ""}
	default:
		c.Types = []string{"at+jwt"}
	}
	i.Types = nil
	for _, typ := range c.Types {
		i.Types = append(i.Types, MediaType(typ))
	}
	for name, to := range map[string]*string{
		"sid": &i.Claims.Session, "client_id": &i.Claims.Client, "tenant": &i.Claims.Tenant, "device_id": &i.Claims.Device,
	} {
		if *to == "" {
			*to = name
		}
	}
	return i, nil
}

// MediaType gives a typ the form in which types are compared: RFC 7515 section
// 4.1.9 leaves "application/" out where no other slash follows, and media
// types have no case.
func MediaType(typ string) string {
	typ = strings.ToLower(typ)
	if rest, ok := strings.CutPrefix(typ, "application/"); ok && !strings.Contains(rest, "/") {
		return rest
	}
	return typ
}

// accepts judges a token's type: its typ, and what its payload gives away.
// typ is in the form of MediaType.
func (i *issuer) accepts(typ string, claims *jose.Object) bool {
	if !slices.Contains(i.Types, typ) {
		return false
	}
	if claims.Has("events") { // a SET or a logout token (RFC 8417 section 4.2)
		return false
	}
	if typ != "jwt" && typ != "jose" && typ != "" {
		return true
	}
	return accessKind(claims)
}

// accessKind looks at what a payload gives away of its kind.
func accessKind(claims *jose.Object) bool {
	// These types are everybody's: ID tokens carry nonce and hashes (OIDC Core
	// 2, 3.3.2.11), Keycloak names the kind in a claim.
	for _, name := range [...]string{"nonce", "at_hash", "c_hash"} {
		if claims.Has(name) {
			return false
		}
	}
	if use, there := claims.Get("token_use"); there { // Hydra's refresh, Cognito's ID tokens
		text, _ := use.Text()
		if text != "access" && text != "access_token" {
			return false
		}
	}
	kind, there := claims.Get("typ")
	text, _ := kind.Text()
	return !there || strings.EqualFold(text, "Bearer") || strings.EqualFold(text, "DPoP")
}
