// Package jose reads compact JWS (RFC 7515), JWK and JWK Sets (RFC 7517), and
// verifies signatures, for an edge where every byte comes from a stranger.
//
// It accepts one form only. A token has three base64url parts without padding
// or stray bits, a header and a payload that are JSON objects of the strict
// kind (Object), and an alg that is asymmetric and known. Everything that
// lets two readers understand one token in two ways is refused: members that
// stand twice, invalid UTF-8, crit, b64, zip.
//
// What a token says of its own key (jwk, jku, x5u, x5c) is never read. Keys
// come from the KeySet that the caller chose by issuer, and a key serves only
// the algorithm that its type, its curve and its alg allow.
//
// golang-jwt does the signature mathematics; its parser, its claims and its
// validation are not used. The package is pure: no I/O, no clock.
package jose
