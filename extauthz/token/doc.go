// Package token turns a credential's text into a Session that the rest of a
// check may believe, or into the reason why not.
//
// Verify goes by the order of contract §6, and the first step that fails ends it:
//
//	form        size, strict compact JWS, algorithm      jose.Parse
//	issuer      iss is exactly one of the configured     issuer.go
//	key         the issuer's own key set, by kid         jose.KeySet
//	signature   golang-jwt, a bounded number at a time
//	type        JOSE typ, and no ID, refresh or logout token
//	audience    aud holds one of the issuer's audiences
//	claims      required ones there, all of their types  claims.go
//	time        exp, nbf, iat with the issuer's skew
//
// # What is remembered
//
// A token whose signature and claims are right is kept as an encoded Session
// (memo.go) under the SHA-256 of its whole text, so that a forged signature on
// the same header and payload misses. An entry counts only while the
// configuration and the issuer's key set are those it was made with: a
// withdrawn key and a reload verify again. Time is judged on each check, hit
// or not. A signature that failed is kept the same way, apart, and for seconds.
//
// The package is pure: the caller brings the time, the keys and the memo.
package token
