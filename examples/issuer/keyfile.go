package issuer

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// PEM is the private half, in PKCS #8.
func (k *Key) PEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, fmt.Errorf("write a private key: %w", err)
	}
	return pemBlock("PRIVATE KEY", der), nil
}

// ParseKey reads a private key: PEM (PKCS #8, SEC 1 or PKCS #1, as openssl
// writes them) or a JWK. alg "" is what its JWK names, else the usual one of
// its kind.
func ParseKey(doc []byte, alg string) (*Key, error) {
	if text := bytes.TrimSpace(doc); len(text) > 0 && text[0] == '{' {
		return parseJWK(text, alg)
	}
	private, err := parsePEM(doc)
	if err != nil {
		return nil, err
	}
	return newKey(private, alg)
}

// parsePEM reads the first private key, past what openssl writes before it.
func parsePEM(doc []byte) (crypto.Signer, error) {
	other := ""
	for block, rest := pem.Decode(doc); block != nil; block, rest = pem.Decode(rest) {
		var private any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			private, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			private, err = x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			if block.Headers["DEK-Info"] != "" {
				return nil, errEncrypted
			}
			private, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, errEncrypted
		default:
			other = block.Type
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", block.Type, err)
		}
		signer, ok := private.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("a key of this kind (%T) signs nothing: use EC, Ed25519 or RSA", private)
		}
		return signer, nil
	}
	if other != "" {
		return nil, fmt.Errorf("it holds %s, and no private key", other)
	}
	return nil, errors.New("it is neither PEM nor a JWK: it must hold a private key")
}

var errEncrypted = errors.New("the key is encrypted: use one without a passphrase, for development only")

// privateJWK has the members of RFC 7518, 6 and RFC 8037, 2 that are read.
type privateJWK struct {
	Keys []any  `json:"keys"` // of a set
	Kty  string `json:"kty"`
	Crv  string `json:"crv"`
	Kid  string `json:"kid"`
	Alg  string `json:"alg"`
	X    string `json:"x"`
	Y    string `json:"y"`
	D    string `json:"d"`
	N    string `json:"n"`
	E    string `json:"e"`
	P    string `json:"p"`
	Q    string `json:"q"`
}

func parseJWK(doc []byte, alg string) (*Key, error) {
	var jwk privateJWK
	if err := json.NewDecoder(bytes.NewReader(doc)).Decode(&jwk); err != nil {
		return nil, fmt.Errorf("read the JWK: %w", err)
	}
	switch {
	case jwk.Keys != nil:
		return nil, errors.New("it is a set of keys: take one private JWK out of it")
	case jwk.D == "":
		return nil, errors.New("the JWK has no private half (member d)")
	case jwk.Alg == "Ed25519": // RFC 9864
		jwk.Alg = "EdDSA"
	}
	if alg == "" {
		alg = jwk.Alg
	} else if jwk.Alg != "" && jwk.Alg != alg {
		return nil, fmt.Errorf("the JWK says alg %q: it does not sign with %s", jwk.Alg, alg)
	}
	private, err := jwk.private()
	if err != nil {
		return nil, fmt.Errorf("read the JWK: %w", err)
	}
	k, err := newKey(private, alg)
	if err != nil {
		return nil, err
	}
	// A public half of another key would give tokens that nobody can verify.
	for name, value := range map[string]string{"x": jwk.X, "y": jwk.Y, "n": jwk.N} {
		if value != "" && k.jwk[name] != value {
			return nil, fmt.Errorf("read the JWK: %s does not belong to its private half", name)
		}
	}
	if jwk.Kid != "" {
		k.KID = jwk.Kid
	}
	return k, nil
}

func (jwk *privateJWK) private() (crypto.Signer, error) {
	d, err := octets("d", jwk.D)
	if err != nil {
		return nil, err
	}
	switch jwk.Kty {
	case "EC":
		for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
			if curve.Params().Name == jwk.Crv {
				return ecdsa.ParseRawPrivateKey(curve, d)
			}
		}
		return nil, fmt.Errorf("no curve %q: use P-256, P-384 or P-521", jwk.Crv)
	case "OKP":
		if jwk.Crv != "Ed25519" || len(d) != ed25519.SeedSize {
			return nil, fmt.Errorf("crv %q with a d of %d bytes: use Ed25519, whose d has %d", jwk.Crv, len(d), ed25519.SeedSize)
		}
		return ed25519.NewKeyFromSeed(d), nil
	case "RSA":
		return jwk.rsa(d)
	}
	return nil, fmt.Errorf("no kty %q: use EC, OKP or RSA", jwk.Kty)
}

func (jwk *privateJWK) rsa(d []byte) (crypto.Signer, error) {
	var n [4]*big.Int
	for i, member := range []struct{ name, value string }{{"n", jwk.N}, {"e", jwk.E}, {"p", jwk.P}, {"q", jwk.Q}} {
		b, err := octets(member.name, member.value)
		if err != nil {
			return nil, err
		}
		n[i] = new(big.Int).SetBytes(b)
	}
	if n[1].BitLen() > 31 {
		return nil, errors.New("e is too large")
	}
	private := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: n[0], E: int(n[1].Int64())},
		D:         new(big.Int).SetBytes(d), Primes: []*big.Int{n[2], n[3]},
	}
	private.Precompute()
	return private, private.Validate()
}

func octets(name, value string) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(value, "="))
	if err != nil || len(b) == 0 {
		return nil, fmt.Errorf("%s is missing or no base64url", name)
	}
	return b, nil
}
