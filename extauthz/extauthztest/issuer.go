package extauthztest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // ES384
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Defaults of a token, for the configuration that shall accept it.
const (
	Audience = "https://api.example"
	Subject  = "user-1"
	Client   = "client-1"
	Session  = "session-1"
	ACR      = "aal2"
	Scope    = "read write"
	Lifetime = 5 * time.Minute
)

// TB is what an issuer needs of a testing.TB; a benchmark outside of go test
// brings its own.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
}

// Issuer mints tokens. Its keys are made once; it may be used from any
// goroutine while no key is added or dropped.
type Issuer struct {
	Name   string
	tb     TB
	keys   []*key
	serial atomic.Uint64 // makes each jti another one
}

// key is one signing key; its alg decides how it signs, whatever the header says.
type key struct {
	id, alg string
	private crypto.Signer
}

// NewIssuer makes an issuer with one key for each alg (ES256, ES384, EdDSA,
// PS256, RS256), ES256 alone where none is named. A key's kid is its alg in
// lower case and "-1", the same at every issuer. The first key is the default.
func NewIssuer(tb TB, name string, algs ...string) *Issuer {
	tb.Helper()
	if len(algs) == 0 {
		algs = []string{"ES256"}
	}
	i := &Issuer{Name: name, tb: tb}
	for _, alg := range algs {
		i.AddKey(alg, strings.ToLower(alg)+"-1")
	}
	return i
}

// AddKey makes one more key.
func (i *Issuer) AddKey(alg, kid string) {
	i.tb.Helper()
	k := &key{id: kid, alg: alg}
	var err error
	switch alg {
	case "ES256":
		k.private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		k.private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "EdDSA":
		_, k.private, err = ed25519.GenerateKey(rand.Reader)
	case "PS256", "RS256":
		k.private, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		err = fmt.Errorf("the test issuer has no %s", alg)
	}
	if err != nil {
		i.tb.Fatalf("make key %s: %v", kid, err)
	}
	i.keys = append(i.keys, k)
}

// DropKey withdraws a key.
func (i *Issuer) DropKey(kid string) {
	for at, k := range i.keys {
		if k.id == kid {
			i.keys = append(i.keys[:at:at], i.keys[at+1:]...)
			return
		}
	}
	i.tb.Fatalf("the issuer has no key %s to drop", kid)
}

// Signer gives a key's private half.
func (i *Issuer) Signer(kid string) crypto.Signer { return i.find(kid).private }

func (i *Issuer) find(kid string) *key {
	i.tb.Helper()
	for _, k := range i.keys {
		if k.id == kid || kid == "" {
			return k
		}
	}
	i.tb.Fatalf("the issuer has no key %q", kid)
	return nil
}

// JWKS is the issuer's JWK Set.
func (i *Issuer) JWKS() []byte {
	set := make([]map[string]string, 0, len(i.keys))
	for _, k := range i.keys {
		jwk := JWK(k.private.Public())
		jwk["kid"], jwk["alg"], jwk["use"] = k.id, k.alg, "sig"
		set = append(set, jwk)
	}
	doc, err := json.Marshal(map[string]any{"keys": set})
	if err != nil {
		i.tb.Fatalf("write the key set: %v", err)
	}
	return doc
}

// JWK gives the members of a public key, without kid, alg and use.
func JWK(public crypto.PublicKey) map[string]string {
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		point, err := p.Bytes()
		if err != nil {
			return nil
		}
		x, y := point[1:1+len(point)/2], point[1+len(point)/2:]
		return map[string]string{"kty": "EC", "crv": p.Curve.Params().Name, "x": encode(x), "y": encode(y)}
	case ed25519.PublicKey:
		return map[string]string{"kty": "OKP", "crv": "Ed25519", "x": encode(p)}
	case *rsa.PublicKey:
		return map[string]string{"kty": "RSA", "n": encode(p.N.Bytes()), "e": encode(big.NewInt(int64(p.E)).Bytes())}
	}
	return nil
}

// Part changes a token that is being made.
type Part interface{ apply(m *minting) }

type minting struct {
	header, claims map[string]any
	key            *key
	issuer         *Issuer
}

// Claims replaces members of the payload or adds to them.
type Claims map[string]any

// Header replaces members of the header or adds to them.
type Header map[string]any

// Key signs with another key of the issuer and names it in kid; a Header part
// that comes later may name another.
type Key string

// Absent as a member's value leaves the member out; nil is JSON's null.
var Absent = absent{}

type absent struct{}

func (c Claims) apply(m *minting) { merge(m.claims, c) }
func (h Header) apply(m *minting) { merge(m.header, h) }
func (k Key) apply(m *minting) {
	m.key = m.issuer.find(string(k))
	m.header["kid"], m.header["alg"] = m.key.id, m.key.alg
}

func merge(into, from map[string]any) {
	maps.Copy(into, from)
	maps.DeleteFunc(into, func(_ string, v any) bool { return v == Absent })
}

// Token mints a token that is valid at now, changed by the parts in order.
func (i *Issuer) Token(now time.Time, parts ...Part) string {
	i.tb.Helper()
	m := minting{issuer: i, header: map[string]any{"typ": "at+jwt"}, claims: map[string]any{
		"iss": i.Name, "sub": Subject, "aud": Audience, "client_id": Client, "sid": Session,
		"iat": now.Unix(), "exp": now.Add(Lifetime).Unix(), "auth_time": now.Unix(),
		"jti": "jti-" + strconv.FormatUint(i.serial.Add(1), 10), "acr": ACR, "scope": Scope,
	}}
	Key("").apply(&m)
	for _, p := range parts {
		p.apply(&m)
	}
	header, errHeader := json.Marshal(m.header)
	claims, errClaims := json.Marshal(m.claims)
	if errHeader != nil || errClaims != nil {
		i.tb.Fatalf("write the token: %v %v", errHeader, errClaims)
	}
	return i.sign(m.key, header, claims)
}

// Sign signs header and payload as they are, with the default key. Nothing is
// added or checked: duplicates, bad UTF-8 and any alg pass.
func (i *Issuer) Sign(header, payload []byte) string {
	i.tb.Helper()
	return i.sign(i.find(""), header, payload)
}

// SignWith is Sign with another key of the issuer.
func (i *Issuer) SignWith(kid string, header, payload []byte) string {
	i.tb.Helper()
	return i.sign(i.find(kid), header, payload)
}

func (i *Issuer) sign(k *key, header, payload []byte) string {
	i.tb.Helper()
	input := encode(header) + "." + encode(payload)
	signature, err := k.sign([]byte(input))
	if err != nil {
		i.tb.Fatalf("sign with %s: %v", k.id, err)
	}
	return input + "." + encode(signature)
}

// sign makes a signature as RFC 7518 section 3 and RFC 8037 section 3.1 write it.
func (k *key) sign(input []byte) ([]byte, error) {
	sum := sha256.Sum256(input)
	switch k.alg {
	case "ES256":
		return signECDSA(k.private.(*ecdsa.PrivateKey), sum[:], 32)
	case "ES384":
		h := crypto.SHA384.New()
		h.Write(input)
		return signECDSA(k.private.(*ecdsa.PrivateKey), h.Sum(nil), 48)
	case "EdDSA":
		return k.private.Sign(rand.Reader, input, crypto.Hash(0))
	case "PS256":
		return k.private.Sign(rand.Reader, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	default: // RS256: AddKey lets nothing else in
		return k.private.Sign(rand.Reader, sum[:], crypto.SHA256)
	}
}

func signECDSA(private *ecdsa.PrivateKey, sum []byte, size int) ([]byte, error) {
	r, s, err := ecdsa.Sign(rand.Reader, private, sum)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 2*size)
	r.FillBytes(out[:size])
	s.FillBytes(out[size:])
	return out, nil
}

// WithSignature puts other signature bytes on a token.
func WithSignature(token string, signature []byte) string {
	return token[:strings.LastIndexByte(token, '.')+1] + encode(signature)
}

// Forge changes one bit of a token's signature; its form stays right.
func Forge(token string) string {
	signature := signatureOf(token)
	signature[len(signature)/2] ^= 1
	return WithSignature(token, signature)
}

// Twin gives the other ECDSA signature (r, n-s) of an ES256 token: another
// text that verifies as well.
func Twin(token string) string {
	signature := signatureOf(token)
	s := new(big.Int).SetBytes(signature[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(signature[32:])
	return WithSignature(token, signature)
}

func signatureOf(token string) []byte {
	signature, err := base64.RawURLEncoding.DecodeString(token[strings.LastIndexByte(token, '.')+1:])
	if err != nil {
		panic("extauthztest: not a token of this package: " + err.Error())
	}
	return signature
}

// Thumbprint is the x5t#S256 of a certificate in DER (RFC 8705, 3.1).
func Thumbprint(der []byte) string {
	sum := sha256.Sum256(der)
	return encode(sum[:])
}

// CertificateBound is the cnf claim of a token bound to a certificate's thumbprint.
func CertificateBound(thumbprint string) Claims {
	return Claims{"cnf": map[string]any{"x5t#S256": thumbprint}}
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
