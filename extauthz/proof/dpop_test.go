package proof_test

import (
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
	"github.com/holdfast-authz/holdfast/extauthz/proof"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

type (
	claims = extauthztest.Claims
	header = extauthztest.Header
)

const (
	accessToken = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
	api         = "https://api.example/v1/items"
)

var (
	now    = time.Unix(1_800_000_000, 0)
	absent = extauthztest.Absent
)

func checker(t testing.TB, c proof.DPoPConfig) *proof.DPoPChecker {
	t.Helper()
	if c.MaxAge == 0 {
		c.MaxAge, c.FutureSkew = time.Minute, 5*time.Second
	}
	d, err := proof.NewDPoP(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// ask checks a proof for GET https://api.example/v1/items.
func ask(d *proof.DPoPChecker, raw, jkt string, out *proof.Proof) reason.Reason {
	return d.Check(raw, "GET", "https", "api.example", "/v1/items?page=2", accessToken, jkt, now, nil, out)
}

func TestDPoPAlgorithms(t *testing.T) {
	d := checker(t, proof.DPoPConfig{})
	for _, alg := range []string{"ES256", "ES384", "EdDSA", "PS256", "RS256"} {
		t.Run(alg, func(t *testing.T) {
			client := extauthztest.NewProver(t, alg)
			var out proof.Proof
			if r := ask(d, client.Proof("GET", api, accessToken, now, claims{"jti": "one"}), client.JKT, &out); r != reason.OK {
				t.Fatal(r)
			}
			if out.JKT != client.JKT || out.JTI != "one" || !out.IssuedAt.Equal(now) || out.ReplayKey == [16]byte{} {
				t.Errorf("%+v", out)
			}
			if !strings.Contains(" "+proof.DPoPAlgorithms+" ", " "+alg+" ") {
				t.Errorf("algs lacks %s", alg)
			}
			if r := ask(d, client.Proof("GET", api, accessToken, now), "", &out); r != reason.OK {
				t.Errorf("any key: %v", r)
			}
		})
	}
	ed := extauthztest.NewProver(t, "EdDSA")
	if r := ask(d, ed.Proof("GET", api, accessToken, now, header{"alg": "Ed25519"}), ed.JKT, &proof.Proof{}); r != reason.OK {
		t.Errorf("Ed25519: %v", r)
	}
}

// TestDPoPAttacks has a line for each way in which a proof may be wrong.
func TestDPoPAttacks(t *testing.T) {
	d := checker(t, proof.DPoPConfig{})
	es, other, rs := extauthztest.NewProver(t, "ES256"), extauthztest.NewProver(t, "ES256"), extauthztest.NewProver(t, "RS256")
	ed := extauthztest.NewProver(t, "EdDSA")
	make := func(parts ...extauthztest.Part) string { return es.Proof("GET", api, accessToken, now, parts...) }
	jwk := func(p *extauthztest.Prover, change map[string]any) header {
		members := map[string]any{}
		for name, v := range extauthztest.JWK(p.Public()) {
			members[name] = v
		}
		maps.Copy(members, change)
		maps.DeleteFunc(members, func(_ string, v any) bool { return v == nil })
		return header{"jwk": members}
	}
	good := make()
	parts := strings.Split(good, ".")
	point := extauthztest.JWK(es.Public())
	raw, _ := base64.RawURLEncoding.DecodeString(point["x"])
	off := strings.Repeat("A", 42) + "E" // x = 1 is not on P-256 with this y

	for name, tc := range map[string]struct {
		raw  string
		want reason.Reason
	}{
		"good":                                {good, reason.OK},
		"DP03 another key":                    {other.Proof("GET", api, accessToken, now), reason.BindingMismatch},
		"another key of another alg":          {rs.Proof("GET", api, accessToken, now), reason.BindingMismatch},
		"another key, forged":                 {extauthztest.Forge(other.Proof("GET", api, accessToken, now)), reason.DPoPInvalid},
		"the client's jwk, signed by another": {other.Proof("GET", api, accessToken, now, jwk(es, nil)), reason.DPoPInvalid},
		"another jwk, signed by the client":   {make(jwk(other, nil)), reason.DPoPInvalid},
		"forged":                              {extauthztest.Forge(good), reason.DPoPInvalid},
		"the other signature (r, n-s)":        {extauthztest.Twin(good), reason.OK}, // with the same replay key: below

		"DP04 htm":                  {es.Proof("POST", api, accessToken, now), reason.DPoPMismatch},
		"DP04 htm in another case":  {es.Proof("get", api, accessToken, now), reason.DPoPMismatch},
		"DP04 htm absent":           {make(claims{"htm": absent}), reason.DPoPMismatch},
		"DP04 another host":         {es.Proof("GET", "https://www.example/v1/items", accessToken, now), reason.DPoPMismatch},
		"DP04 another scheme":       {es.Proof("GET", "http://api.example/v1/items", accessToken, now), reason.DPoPMismatch},
		"DP04 another port":         {es.Proof("GET", "https://api.example:8443/v1/items", accessToken, now), reason.DPoPMismatch},
		"DP04 another path":         {es.Proof("GET", api+"/", accessToken, now), reason.DPoPMismatch},
		"DP04 a longer path":        {es.Proof("GET", api+"/../items2", accessToken, now), reason.DPoPMismatch},
		"DP04 an encoded slash":     {es.Proof("GET", "https://api.example/v1%2Fitems", accessToken, now), reason.DPoPMismatch},
		"DP04 an encoded path":      {es.Proof("GET", "https://api.example/v1/%69tems", accessToken, now), reason.OK},
		"DP04 htu with a query":     {make(claims{"htu": api + "?page=7#x"}), reason.OK},
		"DP04 htu absent":           {make(claims{"htu": absent}), reason.DPoPMismatch},
		"DP04 htu empty":            {make(claims{"htu": ""}), reason.DPoPMismatch},
		"DP04 htu a path":           {make(claims{"htu": "/v1/items"}), reason.DPoPMismatch},
		"DP04 htu with a user":      {make(claims{"htu": "https://api.example@evil.example/v1/items"}), reason.DPoPMismatch},
		"DP04 htu with our user":    {make(claims{"htu": "https://me@api.example/v1/items"}), reason.DPoPMismatch},
		"htm no string":             {make(claims{"htm": []string{"GET"}}), reason.DPoPInvalid},
		"htu no string":             {make(claims{"htu": []string{api}}), reason.DPoPInvalid},
		"DP06 ath absent":           {es.Proof("GET", api, "", now), reason.DPoPMismatch},
		"DP06 ath empty":            {make(claims{"ath": ""}), reason.DPoPMismatch},
		"DP06 ath of another token": {es.Proof("GET", api, accessToken+"V", now), reason.DPoPMismatch},
		"DP06 ath padded":           {make(claims{"ath": "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo="}), reason.DPoPMismatch},
		"DP06 ath no string":        {make(claims{"ath": nil}), reason.DPoPInvalid},

		"DP07 as old as may be":       {make(claims{"iat": now.Unix() - 60}), reason.OK},
		"DP07 too old":                {make(claims{"iat": now.Unix() - 61}), reason.DPoPExpired},
		"DP07 as far ahead as may be": {make(claims{"iat": now.Unix() + 5}), reason.OK},
		"DP07 too far ahead":          {make(claims{"iat": now.Unix() + 6}), reason.DPoPExpired},
		"DP07 the year 9999":          {make(claims{"iat": 253402300799}), reason.DPoPExpired},
		"DP07 zero":                   {make(claims{"iat": 0}), reason.DPoPExpired},
		"DP07 a fraction":             {make(claims{"iat": json.Number("1800000000.75")}), reason.OK},
		"DP07 int64 min":              {make(claims{"iat": json.Number("-9223372036854775808")}), reason.DPoPInvalid},
		"DP07 beyond int64":           {make(claims{"iat": json.Number("18446744073709551616")}), reason.DPoPInvalid},
		"DP07 1e300":                  {make(claims{"iat": json.Number("1e300")}), reason.DPoPInvalid},
		"DP07 an exponent":            {make(claims{"iat": json.Number("1.8e9")}), reason.DPoPInvalid},
		"iat a string":                {make(claims{"iat": "1800000000"}), reason.DPoPInvalid},
		"iat null":                    {make(claims{"iat": nil}), reason.DPoPInvalid},
		"iat absent":                  {make(claims{"iat": absent}), reason.DPoPInvalid},

		"DP08 two fields, joined":   {good + "," + good, reason.DPoPInvalid},
		"DP08 two fields, a space":  {good + ", " + good, reason.DPoPInvalid},
		"DP08 jwk with d":           {make(jwk(es, map[string]any{"d": "AAAA"})), reason.DPoPInvalid},
		"DP08 oct":                  {make(header{"jwk": map[string]any{"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMko"}}), reason.DPoPInvalid},
		"DP08 alg none":             {make(header{"alg": "none"}), reason.DPoPInvalid},
		"DP08 alg none, unsigned":   {parts[0] + "." + parts[1] + ".", reason.DPoPInvalid},
		"DP08 alg HS256":            {make(header{"alg": "HS256"}), reason.DPoPInvalid},
		"DP08 alg in another case":  {make(header{"alg": "es256"}), reason.DPoPInvalid},
		"DP08 alg absent":           {make(header{"alg": absent}), reason.DPoPInvalid},
		"DP08 alg of another curve": {make(header{"alg": "ES384"}), reason.DPoPInvalid},
		"DP08 alg of another type":  {make(header{"alg": "RS256"}), reason.DPoPInvalid},
		"DP08 RS256 key as PS256":   {rs.Proof("GET", api, accessToken, now, header{"alg": "PS256"}), reason.DPoPInvalid},
		"DP08 typ JWT":              {make(header{"typ": "JWT"}), reason.DPoPInvalid},
		"DP08 typ at+jwt":           {make(header{"typ": "at+jwt"}), reason.DPoPInvalid},
		"DP08 typ absent":           {make(header{"typ": absent}), reason.DPoPInvalid},
		"DP08 typ no string":        {make(header{"typ": 1}), reason.DPoPInvalid},
		"typ in another case":       {make(header{"typ": "DPoP+JWT"}), reason.OK},
		"typ as a whole media type": {make(header{"typ": "application/dpop+jwt"}), reason.OK},

		"jwk absent":             {make(header{"jwk": absent}), reason.DPoPInvalid},
		"jwk a string":           {make(header{"jwk": "{}"}), reason.DPoPInvalid},
		"jwk empty":              {make(header{"jwk": map[string]any{}}), reason.DPoPInvalid},
		"jku instead":            {make(header{"jwk": absent, "jku": "https://evil.example/jwks"}), reason.DPoPInvalid},
		"x5c instead":            {make(header{"jwk": absent, "x5c": []string{"MIIB"}}), reason.DPoPInvalid},
		"jwk off the curve":      {make(jwk(es, map[string]any{"x": off})), reason.DPoPInvalid},
		"jwk at infinity":        {make(jwk(es, map[string]any{"x": strings.Repeat("A", 43), "y": strings.Repeat("A", 43)})), reason.DPoPInvalid},
		"jwk of secp256k1":       {make(jwk(es, map[string]any{"crv": "secp256k1"})), reason.DPoPInvalid},
		"jwk x with a zero":      {make(jwk(es, map[string]any{"x": base64.RawURLEncoding.EncodeToString(append([]byte{0}, raw...))})), reason.DPoPInvalid},
		"jwk x padded":           {make(jwk(es, map[string]any{"x": point["x"] + "="})), reason.DPoPInvalid},
		"jwk to encrypt":         {make(jwk(es, map[string]any{"use": "enc"})), reason.DPoPInvalid},
		"jwk of another alg":     {make(jwk(es, map[string]any{"alg": "ES384"})), reason.DPoPInvalid},
		"jwk as browsers export": {make(jwk(es, map[string]any{"ext": true, "key_ops": []string{"verify"}})), reason.OK},
		"jwk with alg, use, kid": {make(jwk(es, map[string]any{"alg": "ES256", "use": "sig", "kid": "k"})), reason.OK},
		"RSA with p":             {rs.Proof("GET", api, accessToken, now, jwk(rs, map[string]any{"p": "AAAA"})), reason.DPoPInvalid},
		"RSA with oth":           {rs.Proof("GET", api, accessToken, now, jwk(rs, map[string]any{"oth": []any{}})), reason.DPoPInvalid},
		"Ed25519 of low order":   {ed.Proof("GET", api, accessToken, now, jwk(ed, map[string]any{"x": "AQ" + strings.Repeat("A", 41)})), reason.DPoPInvalid},

		"jti absent":       {make(claims{"jti": absent}), reason.DPoPInvalid},
		"jti empty":        {make(claims{"jti": ""}), reason.DPoPInvalid},
		"jti a number":     {make(claims{"jti": 7}), reason.DPoPInvalid},
		"jti of 256 bytes": {make(claims{"jti": strings.Repeat("é", 128)}), reason.OK},
		"jti of 257 bytes": {make(claims{"jti": strings.Repeat("x", 257)}), reason.DPoPInvalid},
		"nonce unasked":    {make(claims{"nonce": "n1"}), reason.OK},
		"nonce a number":   {make(claims{"nonce": 1}), reason.DPoPInvalid},
		"more claims":      {make(claims{"exp": 1, "sub": "x", "deep": map[string]any{"a": []int{1}}}), reason.OK},
		"crit":             {make(header{"crit": []string{"exp"}}), reason.DPoPInvalid},
		"b64":              {make(header{"b64": true}), reason.DPoPInvalid},

		"empty":             {"", reason.DPoPInvalid},
		"no JWS":            {"x", reason.DPoPInvalid},
		"two parts":         {parts[0] + "." + parts[1], reason.DPoPInvalid},
		"four parts":        {good + ".x", reason.DPoPInvalid},
		"padded":            {good + "=", reason.DPoPInvalid},
		"space around":      {" " + good, reason.DPoPInvalid},
		"too long":          {make(claims{"x": strings.Repeat("x", 8<<10)}), reason.DPoPInvalid},
		"payload of a list": {es.Sign([]byte(`{"typ":"dpop+jwt","alg":"ES256"}`), []byte(`[]`)), reason.DPoPInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			out := proof.Proof{JKT: "left over"}
			r := ask(d, tc.raw, es.JKT, &out)
			if r != tc.want {
				t.Errorf("%v, want %v", r, tc.want)
			}
			if (out == proof.Proof{}) != (r != reason.OK) {
				t.Errorf("%v with %+v", r, out)
			}
		})
	}
}

// TestDPoPClients: proofs in the order, spelling and spacing of the clients that
// are in use.
func TestDPoPClients(t *testing.T) {
	d := checker(t, proof.DPoPConfig{})
	es, rs, ed := extauthztest.NewProver(t, "ES256"), extauthztest.NewProver(t, "PS256"), extauthztest.NewProver(t, "EdDSA")
	ec, rsa, okp := extauthztest.JWK(es.Public()), extauthztest.JWK(rs.Public()), extauthztest.JWK(ed.Public())
	sum := ath(accessToken)
	for name, tc := range map[string]struct {
		client        *extauthztest.Prover
		head, payload string
	}{
		"dpop and oauth4webapi (JavaScript)": {es,
			`{"alg":"ES256","typ":"dpop+jwt","jwk":{"kty":"EC","crv":"P-256","x":"` + ec["x"] + `","y":"` + ec["y"] + `"}}`,
			`{"iat":1800000000,"jti":"t0YwmZ4p2lYwZ0u4mYB-0lPGrJoxS9mN6o6aGkxqYhs","htm":"GET","htu":"https://api.example/v1/items","ath":"` + sum + `"}`},
		"the same, PS256": {rs,
			`{"alg":"PS256","typ":"dpop+jwt","jwk":{"kty":"RSA","e":"` + rsa["e"] + `","n":"` + rsa["n"] + `"}}`,
			`{"iat":1800000000,"jti":"x","htm":"GET","nonce":"eyJ7S_zG.eyJH0-Z.HX4w-7v","htu":"https://api.example/v1/items","ath":"` + sum + `"}`},
		"the same, Ed25519": {ed,
			`{"alg":"Ed25519","typ":"dpop+jwt","jwk":{"kty":"OKP","crv":"Ed25519","x":"` + okp["x"] + `"}}`,
			`{"iat":1800000000,"jti":"x","htm":"GET","htu":"https://api.example/v1/items","ath":"` + sum + `"}`},
		"WebCrypto's whole export": {es,
			`{"typ":"dpop+jwt","alg":"ES256","jwk":{"crv":"P-256","ext":true,"key_ops":["verify"],"kty":"EC","x":"` + ec["x"] + `","y":"` + ec["y"] + `"}}`,
			`{"jti":"0195c2d4-8f2c-7c3e-9b8e-2f0e8d9c4a11","htm":"GET","htu":"https://api.example/v1/items?page=2","iat":1800000000,"ath":"` + sum + `"}`},
		"Python's json, with spaces, a fraction in iat": {es,
			`{"typ": "dpop+jwt", "alg": "ES256", "jwk": {"crv": "P-256", "kty": "EC", "x": "` + ec["x"] + `", "y": "` + ec["y"] + `"}}`,
			`{"jti": "9b1deb4d", "htm": "GET", "htu": "https://api.example:443/v1/items", "iat": 1799999999.532, "ath": "` + sum + `"}`},
		"Nimbus (Java), with kid, use and alg in the jwk": {es,
			`{"typ":"dpop+jwt","alg":"ES256","jwk":{"kty":"EC","use":"sig","crv":"P-256","kid":"client-key","x":"` + ec["x"] + `","y":"` + ec["y"] + `","alg":"ES256"}}`,
			`{"sub":"client-1","ath":"` + sum + `","htm":"GET","htu":"https:\/\/api.example\/v1\/items","exp":1800000060,"iat":1800000000,"jti":"x"}`},
	} {
		var out proof.Proof
		if r := ask(d, tc.client.Sign([]byte(tc.head), []byte(tc.payload)), tc.client.JKT, &out); r != reason.OK {
			t.Errorf("%s: %v", name, r)
		}
	}
}

// TestDPoPDuplicates: two readers of one proof must read one thing.
func TestDPoPDuplicates(t *testing.T) {
	d := checker(t, proof.DPoPConfig{})
	client := extauthztest.NewProver(t, "ES256")
	key, err := json.Marshal(extauthztest.JWK(client.Public()))
	if err != nil {
		t.Fatal(err)
	}
	head := `{"typ":"dpop+jwt","alg":"ES256","jwk":` + string(key) + `%s}`
	body := `{"jti":"a","htm":"GET","htu":"` + api + `","iat":1800000000,"ath":"fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"%s}`
	for name, tc := range map[string]struct {
		head, body string
		want       reason.Reason
	}{
		"neither":               {"", "", reason.OK},
		"spaces":                {" ", "\n\t", reason.OK},
		"htm twice":             {"", `,"htm":"POST"`, reason.DPoPInvalid},
		"jti escaped":           {"", `,"\u006ati":"b"`, reason.DPoPInvalid},
		"another case, ignored": {"", `,"HTM":"POST"`, reason.OK},
		"jwk twice":             {`,"jwk":` + string(key), "", reason.DPoPInvalid},
		"alg twice":             {`,"alg":"none"`, "", reason.DPoPInvalid},
	} {
		raw := client.Sign(fmt.Appendf(nil, head, tc.head), fmt.Appendf(nil, body, tc.body))
		if r := ask(d, raw, client.JKT, &proof.Proof{}); r != tc.want {
			t.Errorf("%s: %v, want %v", name, r, tc.want)
		}
	}
}

// TestDPoPOtherKeys: algorithms and sizes that the table has no client for,
// signed by golang-jwt.
func TestDPoPOtherKeys(t *testing.T) {
	d := checker(t, proof.DPoPConfig{})
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	strong := extauthztest.NewProver(t, "RS256").Signer()
	for name, tc := range map[string]struct {
		method jwt.SigningMethod
		key    any
		jwk    any
		want   reason.Reason
	}{
		"RS256 of 2048 bits": {jwt.SigningMethodRS256, strong, extauthztest.JWK(strong.Public()), reason.OK},
		"RS256 of 1024 bits": {jwt.SigningMethodRS256, small, extauthztest.JWK(small.Public()), reason.DPoPInvalid},
		"RS384":              {jwt.SigningMethodRS384, strong, extauthztest.JWK(strong.Public()), reason.DPoPInvalid},
		"RS512":              {jwt.SigningMethodRS512, strong, extauthztest.JWK(strong.Public()), reason.DPoPInvalid},
		"PS512":              {jwt.SigningMethodPS512, strong, extauthztest.JWK(strong.Public()), reason.DPoPInvalid},
		"PS256, the longest salt": {&jwt.SigningMethodRSAPSS{SigningMethodRSA: jwt.SigningMethodPS256.SigningMethodRSA, Options: &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto}},
			strong, extauthztest.JWK(strong.Public()), reason.DPoPInvalid},
		"HS256 with the jwk as its key": {jwt.SigningMethodHS256, []byte("key"), map[string]string{"kty": "oct", "k": "a2V5"}, reason.DPoPInvalid},
	} {
		token := jwt.NewWithClaims(tc.method, jwt.MapClaims{
			"jti": "a", "htm": "GET", "htu": api, "iat": now.Unix(), "ath": "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo",
		})
		token.Header["typ"], token.Header["jwk"] = "dpop+jwt", tc.jwk
		raw, err := token.SignedString(tc.key)
		if err != nil {
			t.Fatal(name, err)
		}
		if r := ask(d, raw, "", &proof.Proof{}); r != tc.want {
			t.Errorf("%s: %v, want %v", name, r, tc.want)
		}
	}
	// r or s of zero or n verifies nowhere (CVE-2022-21449).
	es := extauthztest.NewProver(t, "ES256")
	good := es.Proof("GET", api, accessToken, now)
	n := elliptic.P256().Params().N
	for _, r := range []*big.Int{new(big.Int), n} {
		signature := make([]byte, 64)
		r.FillBytes(signature[:32])
		r.FillBytes(signature[32:])
		if got := ask(d, extauthztest.WithSignature(good, signature), es.JKT, &proof.Proof{}); got != reason.DPoPInvalid {
			t.Errorf("r = s = %v: %v", r, got)
		}
	}
}
