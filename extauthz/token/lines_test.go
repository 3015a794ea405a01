package token

import (
	"strings"
	"testing"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// The tests of this file hold lines of STANDARDS.md that no other one does.

// TestRequiredClaims: RFC 9068, 2.2, one claim left out at a time. Two of its
// seven are not required here (contract §10): jti and client_id.
func TestRequiredClaims(t *testing.T) {
	w := newWorld(t)
	for name, want := range map[string]reason.Reason{
		"iss": reason.ClaimsInvalid, "exp": reason.ClaimsInvalid, "aud": reason.ClaimsInvalid, "iat": reason.ClaimsInvalid,
		"sub": reason.ClaimsInvalid, "client_id": reason.OK, "jti": reason.OK,
	} {
		w.expect(t, w.idp.Token(now, claims{"sid": absent}, claims{name: absent}), want)
	}
}

// TestJWTSVIDHeader: what a JWT-SVID's header has besides (JWT-SVID, 2: nothing)
// is not read, and decides nothing; what changes how it is read is refused.
func TestJWTSVIDHeader(t *testing.T) {
	w, spire := newDomain(t)
	stranger := extauthztest.NewIssuer(t, "prod.example")
	jwk := extauthztest.JWK(stranger.Signer("es256-1").Public())
	for name, tc := range map[string]struct {
		by   *extauthztest.Issuer
		part extauthztest.Part
		want reason.Reason
	}{
		"jku":             {spire, header{"jku": "https://evil.example/jwks"}, reason.OK},
		"jwk":             {spire, header{"jwk": jwk}, reason.OK},
		"jwk that signed": {stranger, header{"jwk": jwk}, reason.SignatureInvalid},
		"no kid":          {spire, header{"kid": absent}, reason.OK}, // JWT-SVID, 2.2: optional
		"another kid":     {spire, header{"kid": "x"}, reason.KeyUnknown},
		"crit":            {spire, header{"crit": []string{"exp"}}, reason.TokenMalformed},
		"b64":             {spire, header{"b64": true}, reason.TokenMalformed},
		"none":            {spire, header{"alg": "none"}, reason.AlgorithmRefused},
		"HS256":           {spire, header{"alg": "HS256"}, reason.AlgorithmRefused},
	} {
		t.Run(name, func(t *testing.T) { w.expect(t, svid(tc.by, tc.part), tc.want) })
	}
	parts := strings.SplitN(svid(spire), ".", 3)
	w.expect(t, `{"payload":"`+parts[1]+`","protected":"`+parts[0]+`","signature":"`+parts[2]+`"}`, reason.TokenMalformed)
}

// TestDomainsAreApart: the keys of one trust domain are good for no other one's
// IDs, and a subject is withdrawn by all of its ID and not by its beginning.
func TestDomainsAreApart(t *testing.T) {
	w, spire := newDomain(t)
	stage := extauthztest.NewIssuer(t, "stage.example")
	w.keys.load(t, stage)
	for name, tc := range map[string]struct {
		by   *extauthztest.Issuer
		sub  string
		want reason.Reason
	}{
		"prod by prod":   {spire, "spiffe://prod.example/a", reason.OK},
		"stage by stage": {stage, "spiffe://stage.example/a", reason.OK},
		"stage by prod":  {spire, "spiffe://stage.example/a", reason.SignatureInvalid},
		"prod by stage":  {stage, "spiffe://prod.example/a", reason.SignatureInvalid},
	} {
		t.Run(name, func(t *testing.T) { w.expect(t, svid(tc.by, claims{"sub": tc.sub}), tc.want) })
	}
	key := func(sub string) cache.Key {
		s := w.expect(t, svid(spire, claims{"sub": sub}), reason.OK)
		k, _ := s.Subject.Key(cache.User)
		return k
	}
	if key("spiffe://prod.example/ns/a") == key("spiffe://prod.example/ns/ab") || key("spiffe://prod.example/ns/a") == key("spiffe://prod.example/ns/a/b") {
		t.Error("two IDs have one name")
	}
}

// TestLayers: a JWT inside of a JWT, signed or not, is not unwrapped (RFC
// 8725bis, 2.3: what was decrypted is not verified), and five parts are no JWS.
func TestLayers(t *testing.T) {
	w := newWorld(t)
	inner := w.idp.Token(now)
	for name, raw := range map[string]string{
		"signed around signed": w.idp.Sign([]byte(`{"alg":"ES256","typ":"at+jwt","cty":"JWT","kid":"es256-1"}`), []byte(inner)),
		"as a JSON string":     w.idp.Sign([]byte(`{"alg":"ES256","typ":"at+jwt","cty":"JWT","kid":"es256-1"}`), []byte(`"`+inner+`"`)),
		"a JWE":                strings.Replace(inner, ".", "..", 1) + ".x",
		"a JWE with dir":       "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0.." + strings.Repeat("A", 16) + ".AAAA." + strings.Repeat("A", 22),
	} {
		t.Run(name, func(t *testing.T) { w.expect(t, raw, reason.TokenMalformed) })
	}
}
