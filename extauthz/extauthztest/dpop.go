package extauthztest

import (
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// Prover is a client with a key of its own: it makes DPoP proofs (RFC 9449) as
// the usual libraries do. It may be used from any goroutine.
type Prover struct {
	JKT    string // the key's RFC 7638 thumbprint
	issuer *Issuer
}

// NewProver makes a client with a key for alg: ES256, ES384, EdDSA, PS256 or RS256.
func NewProver(tb TB, alg string) *Prover {
	tb.Helper()
	p := &Prover{issuer: NewIssuer(tb, "a client", alg)}
	p.JKT = JWKThumbprint(p.Public())
	return p
}

// Public is the public half of the key.
func (p *Prover) Public() crypto.PublicKey { return p.Signer().Public() }

// Signer is the private half of the key.
func (p *Prover) Signer() crypto.Signer { return p.issuer.find("").private }

// DPoPBound is the cnf claim of a token bound to a key's thumbprint.
func DPoPBound(jkt string) Claims { return Claims{"cnf": map[string]any{"jkt": jkt}} }

// Proof makes a proof for a request and the token that goes with it ("": none),
// changed by Header and Claims parts. htu is the URL without query and fragment.
func (p *Prover) Proof(method, url, token string, now time.Time, parts ...Part) string {
	p.issuer.tb.Helper()
	if end := strings.IndexAny(url, "?#"); end >= 0 {
		url = url[:end]
	}
	k := p.issuer.find("")
	m := minting{
		issuer: p.issuer, key: k,
		header: map[string]any{"typ": "dpop+jwt", "alg": k.alg, "jwk": JWK(k.private.Public())},
		claims: map[string]any{
			"jti": "proof-" + strconv.FormatUint(p.issuer.serial.Add(1), 10),
			"htm": method, "htu": url, "iat": now.Unix(),
		},
	}
	if token != "" {
		sum := sha256.Sum256([]byte(token))
		m.claims["ath"] = encode(sum[:])
	}
	for _, part := range parts {
		part.apply(&m)
	}
	header, errHeader := json.Marshal(m.header)
	claims, errClaims := json.Marshal(m.claims)
	if errHeader != nil || errClaims != nil {
		p.issuer.tb.Fatalf("write the proof: %v %v", errHeader, errClaims)
	}
	return p.Sign(header, claims)
}

// Sign signs header and payload as they are; nothing is added or checked.
func (p *Prover) Sign(header, payload []byte) string {
	p.issuer.tb.Helper()
	return p.issuer.Sign(header, payload)
}

// JWKThumbprint is the RFC 7638 thumbprint of a public key: encoding/json
// writes a map's members in the order of their names and without spaces.
func JWKThumbprint(public crypto.PublicKey) string {
	doc, err := json.Marshal(JWK(public))
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(doc)
	return encode(sum[:])
}
