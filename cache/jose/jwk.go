package jose

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// Sizes of RSA keys, in bits. RFC 7518 section 3.3 wants 2048; above 4096 a
// check costs more than it is worth.
const (
	minRSABits = 2048
	maxRSABits = 4096
)

// Key is one public key that may verify signatures.
type Key struct {
	ID     string // kid; "" where HasID is false
	HasID  bool
	Alg    string // the only algorithm it serves; "" where its JWK names none
	Public crypto.PublicKey
}

// ParseKey reads one JWK (RFC 7517). It fails for a key that is not there to
// verify signatures, is weak, or brings its private half with it.
func ParseKey(jwk *Object) (Key, error) { return parseKey(jwk, toVerify) }

func parseKey(jwk *Object, serves func(jwk *Object) error) (Key, error) {
	for _, private := range [...]string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		if jwk.Has(private) {
			return Key{}, fmt.Errorf("private or symmetric key (member %s)", private)
		}
	}
	if err := serves(jwk); err != nil {
		return Key{}, err
	}
	var k Key
	if v, ok := jwk.Get("kid"); ok {
		k.HasID = true
		if k.ID, ok = v.Text(); !ok {
			return Key{}, errors.New("kid is not a string")
		}
	}
	kty, err := text(jwk, "kty")
	if err != nil {
		return Key{}, err
	}
	switch kty {
	case "EC":
		k.Public, err = ecKey(jwk)
	case "RSA":
		k.Public, err = rsaKey(jwk)
	case "OKP":
		k.Public, err = okpKey(jwk)
	default:
		err = fmt.Errorf("key type %.32q", kty)
	}
	if err != nil {
		return Key{}, err
	}
	if v, ok := jwk.Get("alg"); ok {
		name, _ := v.Text()
		a := find(name)
		if a == nil || !a.fits(k.Public) {
			return Key{}, fmt.Errorf("alg %.32q does not fit the key", name)
		}
		k.Alg = a.name
	}
	return k, nil
}

// toVerify looks at use (RFC 7517, 4.2) and key_ops (4.3): either may be
// missing, none may say something else.
func toVerify(jwk *Object) error {
	if v, ok := jwk.Get("use"); ok {
		if use, _ := v.Text(); use != "sig" {
			return errors.New("use is not sig")
		}
	}
	if v, ok := jwk.Get("key_ops"); ok {
		ops, _ := v.Items()
		if !slices.ContainsFunc(ops, func(op Value) bool { return op.text == "verify" }) {
			return errors.New("key_ops has no verify")
		}
	}
	return nil
}

// forJWTSVID looks at use, which must be there in a SPIFFE bundle.
func forJWTSVID(jwk *Object) error {
	v, _ := jwk.Get("use")
	if use, _ := v.Text(); use != "jwt-svid" {
		return errors.New("use is not jwt-svid")
	}
	return nil
}

func text(jwk *Object, name string) (string, error) {
	v, _ := jwk.Get(name)
	s, ok := v.Text()
	if !ok {
		return "", fmt.Errorf("member %s is missing or not a string", name)
	}
	return s, nil
}

func octets(jwk *Object, name string) ([]byte, error) {
	s, err := text(jwk, name)
	if err != nil {
		return nil, err
	}
	b, err := decode(s)
	if err != nil || len(b) == 0 {
		return nil, fmt.Errorf("member %s is not base64url", name)
	}
	return b, nil
}

// ecKey reads x and y at their full length (RFC 7518, 6.2.1.2): a short form
// would give one key two thumbprints. The point must lie on the curve.
func ecKey(jwk *Object) (*ecdsa.PublicKey, error) {
	name, err := text(jwk, "crv")
	if err != nil {
		return nil, err
	}
	for _, curve := range [...]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		if curve.Params().Name != name {
			continue
		}
		size := (curve.Params().BitSize + 7) / 8
		x, errX := octets(jwk, "x")
		y, errY := octets(jwk, "y")
		if err := errors.Join(errX, errY); err != nil {
			return nil, err
		}
		if len(x) != size || len(y) != size {
			return nil, fmt.Errorf("coordinates of %s have %d and %d bytes, not %d", name, len(x), len(y), size)
		}
		return ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
	}
	return nil, fmt.Errorf("curve %.32q", name)
}

// rsaKey reads n and e without leading zeros (RFC 7518, 2: Base64urlUInt).
func rsaKey(jwk *Object) (*rsa.PublicKey, error) {
	nBytes, errN := octets(jwk, "n")
	eBytes, errE := octets(jwk, "e")
	if err := errors.Join(errN, errE); err != nil {
		return nil, err
	}
	n, e := new(big.Int).SetBytes(nBytes), new(big.Int).SetBytes(eBytes)
	switch bits := n.BitLen(); {
	case nBytes[0] == 0 || eBytes[0] == 0:
		return nil, errors.New("n or e starts with a zero byte")
	case bits < minRSABits || bits > maxRSABits:
		return nil, fmt.Errorf("RSA key of %d bits, not %d to %d", bits, minRSABits, maxRSABits)
	case n.Bit(0) == 0 || e.Bit(0) == 0 || e.BitLen() > 31 || e.Int64() < 3:
		return nil, errors.New("n is even, or e is not an odd number from 3 to 2^31-1")
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
}

func okpKey(jwk *Object) (ed25519.PublicKey, error) {
	crv, err := text(jwk, "crv")
	if err != nil {
		return nil, err
	}
	x, err := octets(jwk, "x")
	switch {
	case err != nil:
		return nil, err
	case crv != "Ed25519":
		return nil, fmt.Errorf("curve %.32q", crv)
	case len(x) != ed25519.PublicKeySize:
		return nil, fmt.Errorf("Ed25519 key of %d bytes", len(x))
	case lowOrder(x):
		return nil, errors.New("Ed25519 key of low order: it verifies anything")
	}
	return ed25519.PublicKey(x), nil
}

// smallY are the y coordinates, low byte first, of the points of order 1, 2,
// 4 and 8, and the same with the field's prime added where that fits.
var smallY = [...][ed25519.PublicKeySize]byte{
	{},  // 0: order 4
	{1}, // 1: the neutral point
	{0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05}, // order 8
	{0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a}, // order 8
	nearPrime(0xec), // p-1: order 2
	nearPrime(0xed), // p, which is 0
	nearPrime(0xee), // p+1, which is 1
}

func nearPrime(low byte) (y [ed25519.PublicKeySize]byte) {
	for i := range y {
		y[i] = 0xff
	}
	y[0], y[len(y)-1] = low, 0x7f
	return y
}

func lowOrder(key []byte) bool {
	y := [ed25519.PublicKeySize]byte(key)
	y[len(y)-1] &= 0x7f // the sign of x does not count
	return slices.ContainsFunc(smallY[:], func(small [ed25519.PublicKeySize]byte) bool {
		return bytes.Equal(y[:], small[:])
	})
}
