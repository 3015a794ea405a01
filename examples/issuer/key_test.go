package issuer

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache/jose"
)

// TestKeyAlgorithms: each algorithm's key comes back from its file as the same
// key, and what it signs holds for Holdfast's own reader.
func TestKeyAlgorithms(t *testing.T) {
	for _, alg := range Algorithms() {
		k, err := NewKey(alg)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := k.PEM()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseKey(doc, alg)
		if err != nil || again.ID != k.ID || again.Alg != alg {
			t.Fatalf("%s: read again: %+v, %v", alg, again, err)
		}
		now := time.Now()
		text, err := again.Token(DefaultType, &Claims{Issuer: "i", Subject: "s", Audience: []string{"a", "b"}, Issued: now, Expires: now.Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		set, err := jose.ParseKeySet(KeySet(k))
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		jws, err := jose.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		if kid, err := set.Verify(jws); err != nil || kid != k.ID || jws.Type != DefaultType || jws.Alg != alg {
			t.Errorf("%s: kid %q, %v, header %+v", alg, kid, err, jws)
		}
		if want := jose.Thumbprint(set.Keys()[0].Public); k.ID != want {
			t.Errorf("%s: thumbprint %s, want %s", alg, k.ID, want)
		}
	}
	if _, err := NewKey("HS256"); err == nil || !strings.Contains(err.Error(), "use one of ES256") {
		t.Errorf("HS256: %v", err)
	}
}

// The key of RFC 8037 A.1; its thumbprint is in A.3.
const (
	rfc8037  = `{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	rfc8037s = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
)

// privateJWKOf writes a private key as others do.
func privateJWKOf(t *testing.T, k *Key, more map[string]string) string {
	t.Helper()
	jwk := k.JWK()
	delete(jwk, "use")
	switch p := k.private.(type) {
	case *ecdsa.PrivateKey:
		d, err := p.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		jwk["d"] = encode(d)
	case *rsa.PrivateKey:
		for name, n := range map[string]*big.Int{"d": p.D, "p": p.Primes[0], "q": p.Primes[1]} {
			jwk[name] = encode(n.Bytes())
		}
	}
	maps.Copy(jwk, more)
	return string(mustJSON(jwk))
}

func TestParseJWK(t *testing.T) {
	k, err := ParseKey([]byte(" \n"+rfc8037), "")
	if err != nil || k.ID != rfc8037s || k.KID != rfc8037s || k.Alg != "EdDSA" {
		t.Fatalf("RFC 8037: %+v, %v", k, err)
	}
	for _, alg := range []string{"ES256", "ES384", "ES512", "RS256", "PS384"} {
		k, err := NewKey(alg)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseKey([]byte(privateJWKOf(t, k, map[string]string{"kid": "mine"})), "")
		if err != nil || again.ID != k.ID || again.KID != "mine" || again.Alg != alg || again.JWK()["kid"] != "mine" {
			t.Errorf("%s: %+v, %v", alg, again, err)
		}
		if again, err := ParseKey([]byte(privateJWKOf(t, k, nil)), alg); err != nil || again.Alg != alg {
			t.Errorf("%s: %+v, %v", alg, again, err)
		}
	}
}

func TestParsePEM(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	big, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	// As openssl ecparam -genkey writes it.
	doc := append(pemBlock("EC PARAMETERS", []byte{6, 5, 43, 129, 4, 0, 34}), pemBlock("EC PRIVATE KEY", sec1)...)
	if k, err := ParseKey(doc, ""); err != nil || k.Alg != "ES384" {
		t.Errorf("SEC 1: %+v, %v", k, err)
	}
	pkcs1 := pemBlock("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(big))
	if k, err := ParseKey(pkcs1, ""); err != nil || k.Alg != "RS256" {
		t.Errorf("PKCS #1: %+v, %v", k, err)
	}
	if k, err := ParseKey(pkcs1, "PS256"); err != nil || k.Alg != "PS256" {
		t.Errorf("PKCS #1: %+v, %v", k, err)
	}
}

// TestParseKeyRefuses: each error says what is wrong and what would be right,
// and none shows a part of the key.
func TestParseKeyRefuses(t *testing.T) {
	ec, err := NewKey("ES256")
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewKey("ES256")
	if err != nil {
		t.Fatal(err)
	}
	file, err := ec.PEM()
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(ec.private.Public())
	if err != nil {
		t.Fatal(err)
	}
	x25519, err := x509.MarshalPKCS8PrivateKey(must(ecdh.X25519().GenerateKey(rand.Reader)))
	if err != nil {
		t.Fatal(err)
	}
	p224, err := x509.MarshalPKCS8PrivateKey(must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader)))
	if err != nil {
		t.Fatal(err)
	}
	encrypted := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}, Bytes: []byte{1}})
	for _, test := range []struct{ name, doc, alg, want string }{
		{"empty", "", "", "must hold a private key"},
		{"another alg", string(file), "RS256", "this P-256 key signs with ES256, not with RS256"},
		{"public", string(pemBlock("PUBLIC KEY", public)), "", "it holds PUBLIC KEY, and no private key"},
		{"damaged", string(pemBlock("PRIVATE KEY", []byte{1, 2})), "", "read PRIVATE KEY: "},
		{"encrypted", string(pemBlock("ENCRYPTED PRIVATE KEY", []byte{1})), "", "without a passphrase"},
		{"encrypted, old", string(encrypted), "", "without a passphrase"},
		{"P-224", string(pemBlock("PRIVATE KEY", p224)), "", "use P-256"},
		{"X25519 in PEM", string(pemBlock("PRIVATE KEY", x25519)), "", "use EC, Ed25519 or RSA"},
		{"half a JWK", `{"kty":`, "", "read the JWK: "},
		{"public JWK", string(mustJSON(ec.JWK())), "", "no private half (member d)"},
		{"a set", `{"keys":[]}`, "", "take one private JWK out of it"},
		{"another public half", privateJWKOf(t, ec, map[string]string{"x": other.jwk["x"]}), "", "x does not belong to its private half"},
		{"JWK of another alg", privateJWKOf(t, ec, nil), "ES384", `the JWK says alg "ES256"`},
		{"kty", `{"kty":"oct","d":"AA"}`, "", `no kty "oct": use EC, OKP or RSA`},
		{"crv", `{"kty":"EC","crv":"secp256k1","d":"AA"}`, "", `no curve "secp256k1"`},
		{"X25519", `{"kty":"OKP","crv":"X25519","d":"AA"}`, "", `crv "X25519" with a d of 1 bytes`},
		{"no base64url", `{"kty":"EC","crv":"P-256","d":"*"}`, "", "d is missing or no base64url"},
		{"zero", `{"kty":"EC","crv":"P-256","d":"` + encode(make([]byte, 32)) + `"}`, "", "read the JWK: "},
		{"RSA without primes", `{"kty":"RSA","n":"AQAB","e":"AQAB","d":"AQAB"}`, "", "p is missing"},
		{"RSA of nonsense", `{"kty":"RSA","n":"AQAB","e":"AQAB","d":"AQAB","p":"Aw","q":"BQ"}`, "", "read the JWK: "},
		{"RSA of zeros", `{"kty":"RSA","n":"AA","e":"AA","d":"AA","p":"AA","q":"AA"}`, "", "read the JWK: "},
	} {
		k, err := ParseKey([]byte(test.doc), test.alg)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %+v, %v, want %q", test.name, k, err, test.want)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestClaims: nothing empty is written, and More has the last word.
func TestClaims(t *testing.T) {
	k, err := ParseKey([]byte(rfc8037), "")
	if err != nil {
		t.Fatal(err)
	}
	payload := func(text string) string {
		t.Helper()
		parts := strings.Split(text, ".")
		doc, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			t.Fatal(err)
		}
		return string(doc)
	}
	text, err := k.Token("", &Claims{})
	if err != nil || payload(text) != "{}" {
		t.Errorf("%s, %v", payload(text), err)
	}
	header := must(base64.RawURLEncoding.DecodeString(text[:strings.IndexByte(text, '.')]))
	if string(header) != `{"alg":"EdDSA","kid":"`+rfc8037s+`"}` {
		t.Errorf("header %s", header)
	}
	text, err = k.Token("JWT", &Claims{
		Issuer: "i", Audience: []string{"a"}, JKT: "j", X5T: "x", Auth: time.Unix(7, 0),
		More: map[string]any{"iss": "other", "big": json.Number("12345678901234567890")},
	})
	const want = `{"aud":"a","auth_time":7,"big":12345678901234567890,"cnf":{"jkt":"j","x5t#S256":"x"},"iss":"other"}`
	if err != nil || payload(text) != want {
		t.Errorf("%s, %v", payload(text), err)
	}
	public := k.private.Public().(ed25519.PublicKey)
	if i := strings.LastIndexByte(text, '.'); !ed25519.Verify(public, []byte(text[:i]), must(base64.RawURLEncoding.DecodeString(text[i+1:]))) {
		t.Error("the signature does not hold")
	}
	if !slices.Equal(public, must(base64.RawURLEncoding.DecodeString(k.jwk["x"]))) || bytes.Contains(KeySet(k), []byte(`"d"`)) {
		t.Error("the public half is not that of the key")
	}
}
