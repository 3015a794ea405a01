package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha512" // ES384 and its kin

	"github.com/golang-jwt/jwt/v5"
)

// algorithm is a row of the closed table below.
type algorithm struct {
	name   string
	method jwt.SigningMethod
	curve  elliptic.Curve // ECDSA only
}

// algorithms are the asymmetric ones of RFC 7518 section 3.1 and RFC 8037.
// What is not here does not exist: none and HMAC above all.
var algorithms = [...]algorithm{
	{name: "ES256", method: jwt.SigningMethodES256, curve: elliptic.P256()},
	{name: "ES384", method: jwt.SigningMethodES384, curve: elliptic.P384()},
	{name: "ES512", method: jwt.SigningMethodES512, curve: elliptic.P521()},
	{name: "EdDSA", method: jwt.SigningMethodEdDSA},
	{name: "PS256", method: pss(jwt.SigningMethodPS256)},
	{name: "PS384", method: pss(jwt.SigningMethodPS384)},
	{name: "PS512", method: pss(jwt.SigningMethodPS512)},
	{name: "RS256", method: jwt.SigningMethodRS256},
	{name: "RS384", method: jwt.SigningMethodRS384},
	{name: "RS512", method: jwt.SigningMethodRS512},
}

// pss demands a salt as long as the hash (RFC 7518 section 3.5); golang-jwt
// takes one of any length.
func pss(m *jwt.SigningMethodRSAPSS) jwt.SigningMethod {
	return &jwt.SigningMethodRSAPSS{
		SigningMethodRSA: m.SigningMethodRSA,
		Options:          &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash},
	}
}

// Algorithm gives the one name of an algorithm: Ed25519 (RFC 9864) and EdDSA
// are the same. ok is false for one that is not asymmetric or not known.
func Algorithm(name string) (canonical string, ok bool) {
	if a := find(name); a != nil {
		return a.name, true
	}
	return "", false
}

func find(name string) *algorithm {
	if name == "Ed25519" {
		name = "EdDSA"
	}
	for i := range algorithms {
		if algorithms[i].name == name {
			return &algorithms[i]
		}
	}
	return nil
}

// fits tells whether a key of this type and curve can serve the algorithm.
// golang-jwt looks at the type only.
func (a *algorithm) fits(public crypto.PublicKey) bool {
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		return a.curve != nil && a.curve == p.Curve
	case ed25519.PublicKey:
		return a.method == jwt.SigningMethodEdDSA
	case *rsa.PublicKey:
		return a.curve == nil && a.method != jwt.SigningMethodEdDSA
	}
	return false
}
