package issuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

const rsaBits = 2048 // RFC 7518, 3.3 wants no fewer

// Key is a private key that signs: an issuer's tokens, or a client's proofs of
// possession (RFC 9449). It may be used from any goroutine.
type Key struct {
	ID  string // RFC 7638 thumbprint: what cnf.jkt says; kid where the key's JWK names no other
	KID string
	Alg string // the algorithm it signs with
	Use string // of its JWK: sig, or jwt-svid in a SPIFFE bundle

	private crypto.Signer
	jwk     map[string]string // the public half, members of RFC 7638 only
}

// Algorithms are what a Key can sign with, the usual one first.
func Algorithms() []string {
	return []string{"ES256", "ES384", "ES512", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"}
}

// NewKey makes a key for an algorithm; "" is ES256.
func NewKey(alg string) (*Key, error) {
	private, err := generate(alg)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return newKey(private, alg)
}

func generate(alg string) (crypto.Signer, error) {
	switch alg {
	case "", "ES256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	case "PS256", "PS384", "PS512", "RS256", "RS384", "RS512":
		return rsa.GenerateKey(rand.Reader, rsaBits)
	}
	return nil, fmt.Errorf("no algorithm %q: use one of %s", alg, strings.Join(Algorithms(), ", "))
}

// newKey tells what a private key can sign with, and wants alg, if it is given,
// to be of that.
func newKey(private crypto.Signer, alg string) (*Key, error) {
	k := &Key{Use: "sig", private: private}
	var algs []string // the first is the one where none is asked for
	var kind string
	switch p := private.(type) {
	case *ecdsa.PrivateKey:
		kind = p.Curve.Params().Name
		point, err := p.PublicKey.Bytes() // 4, x, y (SEC 1, 2.3.3)
		if err != nil {
			return nil, fmt.Errorf("read the key's point: %w", err)
		}
		half := len(point) / 2
		k.jwk = map[string]string{"kty": "EC", "crv": kind, "x": encode(point[1 : 1+half]), "y": encode(point[1+half:])}
		switch p.Curve {
		case elliptic.P256():
			algs = []string{"ES256"}
		case elliptic.P384():
			algs = []string{"ES384"}
		case elliptic.P521():
			algs = []string{"ES512"}
		}
	case ed25519.PrivateKey:
		kind, algs = "Ed25519", []string{"EdDSA"}
		k.jwk = map[string]string{"kty": "OKP", "crv": "Ed25519", "x": encode(p.Public().(ed25519.PublicKey))}
	case *rsa.PrivateKey:
		kind, algs = "RSA", []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
		if bits := p.N.BitLen(); bits < rsaBits {
			return nil, fmt.Errorf("an RSA key of %d bits is too weak: use %d or more", bits, rsaBits)
		}
		k.jwk = map[string]string{"kty": "RSA", "n": encode(p.N.Bytes()), "e": encode(big.NewInt(int64(p.E)).Bytes())}
	}
	for _, one := range algs {
		if alg == "" || alg == one {
			k.Alg = one
			break
		}
	}
	switch {
	case len(algs) == 0:
		return nil, fmt.Errorf("a key of this kind (%T %s) signs nothing here: use P-256, P-384, P-521, Ed25519 or RSA", private, kind)
	case k.Alg == "":
		return nil, fmt.Errorf("this %s key signs with %s, not with %s", kind, strings.Join(algs, ", "), alg)
	}
	// RFC 7638: encoding/json writes a map's members in the order of their
	// names and without spaces.
	sum := sha256.Sum256(mustJSON(k.jwk))
	k.ID = encode(sum[:])
	k.KID = k.ID
	return k, nil
}

// JWK is the public half for a key set (RFC 7517).
func (k *Key) JWK() map[string]string {
	jwk := map[string]string{"kid": k.KID, "use": k.Use, "alg": k.Alg}
	for name, value := range k.jwk {
		jwk[name] = value
	}
	return jwk
}

// KeySet is a JWK Set (RFC 7517, 5) of public halves.
func KeySet(keys ...*Key) []byte {
	set := struct {
		Keys []map[string]string `json:"keys"`
	}{make([]map[string]string, 0, len(keys))}
	for _, k := range keys {
		set.Keys = append(set.Keys, k.JWK())
	}
	return mustJSON(set)
}

// sign makes a compact JWS. What header says stands beside alg.
func (k *Key) sign(header, claims map[string]any) (string, error) {
	jws := jwt.NewWithClaims(jwt.GetSigningMethod(k.Alg), jwt.MapClaims(claims))
	delete(jws.Header, "typ") // golang-jwt's own
	for name, value := range header {
		jws.Header[name] = value
	}
	return jws.SignedString(k.private)
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func mustJSON(v any) []byte {
	doc, err := json.Marshal(v)
	if err != nil {
		panic(err) // texts only
	}
	return doc
}
