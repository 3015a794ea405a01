package token

import (
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// TestForm holds what ends before or at the signature: JA01 to JA16 and the
// PA cases, seen from Verify.
func TestForm(t *testing.T) {
	w := newWorld(t, "ES256", "ES384", "EdDSA", "PS256", "RS256")
	w.config.Issuers[0].Algorithms = []string{"ES256", "EdDSA", "RS256"}
	w.rebuild(t)
	good := w.idp.Token(now)
	first, second := strings.IndexByte(good, '.'), strings.LastIndexByte(good, '.')
	body := `{"iss":"` + idpName + `","aud":"` + extauthztest.Audience + `","sub":"u","iat":1800000000,"exp":1800000300`
	es := []byte(`{"alg":"ES256","typ":"at+jwt","kid":"es256-1"}`)
	stranger := extauthztest.NewIssuer(t, idpName)
	strangerJWK := extauthztest.JWK(stranger.Signer("es256-1").Public())
	for name, c := range map[string]struct {
		raw  string
		want reason.Reason
	}{
		"good":                            {good, reason.OK},
		"good with EdDSA":                 {w.idp.Token(now, extauthztest.Key("eddsa-1")), reason.OK},
		"good with Ed25519":               {w.idp.Token(now, extauthztest.Key("eddsa-1"), header{"alg": "Ed25519"}), reason.OK},
		"good with RS256":                 {w.idp.Token(now, extauthztest.Key("rs256-1")), reason.OK},
		"JA01 none, no signature":         {extauthztest.WithSignature(w.idp.Token(now, header{"alg": "none"}), nil), reason.AlgorithmRefused},
		"JA01 None":                       {w.idp.Token(now, header{"alg": "None"}), reason.AlgorithmRefused},
		"JA01 NONE":                       {w.idp.Token(now, header{"alg": "NONE"}), reason.AlgorithmRefused},
		"JA02 HS256":                      {w.idp.Token(now, header{"alg": "HS256"}), reason.AlgorithmRefused},
		"JA03 jwk in the header":          {stranger.Token(now, header{"jwk": strangerJWK, "kid": "mine"}), reason.KeyUnknown},
		"JA03 jwk in the header, our kid": {stranger.Token(now, header{"jwk": strangerJWK}), reason.SignatureInvalid},
		"JA04 jku":                        {stranger.Token(now, header{"jku": "https://evil.example/jwks", "kid": "mine"}), reason.KeyUnknown},
		"JA04 x5u":                        {stranger.Token(now, header{"x5u": "https://evil.example/crt", "kid": "mine"}), reason.KeyUnknown},
		"JA04 x5c":                        {stranger.Token(now, header{"x5c": []string{"MII"}, "kid": "mine"}), reason.KeyUnknown},
		"JA05 an algorithm not listed":    {w.idp.Token(now, extauthztest.Key("es384-1")), reason.AlgorithmRefused},
		"JA05 PS256 not listed":           {w.idp.Token(now, extauthztest.Key("ps256-1")), reason.AlgorithmRefused},
		"JA05 RS256 with a key of PS256":  {w.idp.Token(now, extauthztest.Key("ps256-1"), header{"alg": "RS256"}), reason.AlgorithmRefused},
		"JA06 ES256 with a key of P-384":  {w.idp.Token(now, header{"kid": "es384-1"}), reason.AlgorithmRefused},
		"JA06 EdDSA with an RSA key":      {w.idp.Token(now, header{"alg": "EdDSA", "kid": "rs256-1"}), reason.AlgorithmRefused},
		"JA07 signature of zeros":         {extauthztest.WithSignature(good, make([]byte, 64)), reason.SignatureInvalid},
		"JA07 signature too short":        {extauthztest.WithSignature(good, make([]byte, 63)), reason.SignatureInvalid},
		"JA09 crit":                       {w.idp.Token(now, header{"crit": []string{"exp"}}), reason.TokenMalformed},
		"JA09 crit empty":                 {w.idp.Token(now, header{"crit": []string{}}), reason.TokenMalformed},
		"JA10 b64":                        {w.idp.Token(now, header{"b64": false, "crit": []string{"b64"}}), reason.TokenMalformed},
		"JA12 JWE":                        {good + ".a.b", reason.TokenMalformed},
		"JA12 zip":                        {w.idp.Token(now, header{"zip": "DEF"}), reason.TokenMalformed},
		"JA12 nested":                     {w.idp.Sign(es, []byte(good)), reason.TokenMalformed},
		"JA15 expired and forged":         {extauthztest.Forge(w.idp.Token(now, claims{"exp": 1})), reason.SignatureInvalid},
		"JA16 alg missing":                {w.idp.Token(now, header{"alg": absent}), reason.AlgorithmRefused},
		"JA16 alg number":                 {w.idp.Token(now, header{"alg": 256}), reason.TokenMalformed},
		"JA16 alg with NUL":               {w.idp.Token(now, header{"alg": "ES256\x00"}), reason.TokenMalformed},
		"JA16 alg with a space":           {w.idp.Token(now, header{"alg": "ES256 "}), reason.TokenMalformed},
		"JK03 kid number":                 {w.idp.Token(now, header{"kid": 1}), reason.TokenMalformed},
		"JK03 kid a path":                 {w.idp.Token(now, header{"kid": "../../key"}), reason.KeyUnknown},
		"JK03 kid with CRLF":              {w.idp.Token(now, header{"kid": "es256-1\r\n"}), reason.KeyUnknown},
		"JK03 kid of 5 KB":                {w.idp.Token(now, header{"kid": strings.Repeat("k", 5000)}), reason.KeyUnknown},
		"JK05 another issuer's key":       {w.other.Token(now, claims{"iss": idpName}), reason.SignatureInvalid},
		"JK05 the same without kid":       {w.other.Token(now, claims{"iss": idpName}, header{"kid": absent}), reason.SignatureInvalid},
		"no kid, one key of the alg":      {w.idp.Token(now, header{"kid": absent}), reason.OK},
		"PA01 sub twice":                  {w.idp.Sign(es, []byte(body+`,"sub":"root"}`)), reason.TokenMalformed},
		"PA01 sub twice, escaped":         {w.idp.Sign(es, []byte(body+`,"\u0073ub":"root"}`)), reason.TokenMalformed},
		"PA01 exp twice":                  {w.idp.Sign(es, []byte(body+`,"exp":1900000000}`)), reason.TokenMalformed},
		"PA01 alg twice":                  {w.idp.Sign([]byte(`{"alg":"none","alg":"ES256"}`), []byte(body+`}`)), reason.TokenMalformed},
		"PA03 invalid UTF-8":              {w.idp.Sign(es, []byte(body+",\"x\":\"\xff\"}")), reason.TokenMalformed},
		"PA03 lone surrogate":             {w.idp.Sign(es, []byte(body+`,"x":"\ud800"}`)), reason.TokenMalformed},
		"PA04 bytes after the payload":    {w.idp.Sign(es, []byte(body+`} {}`)), reason.TokenMalformed},
		"PA04 payload null":               {w.idp.Sign(es, []byte(`null`)), reason.TokenMalformed},
		"PA04 payload list":               {w.idp.Sign(es, []byte(`[`+body+`}]`)), reason.TokenMalformed},
		"PA05 too deep":                   {w.idp.Sign(es, []byte(body+`,"x":`+strings.Repeat("[", 17)+strings.Repeat("]", 17)+`}`)), reason.TokenMalformed},
		"PA06 a million dots":             {strings.Repeat(".", 1_000_000), reason.TokenTooLarge},
		"PA06 8000 dots":                  {strings.Repeat(".", 8000), reason.TokenMalformed},
		"PA07 padding":                    {good + "=", reason.TokenMalformed},
		"PA07 line end":                   {good[:second] + "\n" + good[second:], reason.TokenMalformed},
		"PA08 64 KiB":                     {strings.Repeat("a", 64<<10), reason.TokenTooLarge},
		"PA08 a byte over the limit":      {strings.Repeat("a", defaultMaxBytes+1), reason.TokenTooLarge},
		"PA08 at the limit":               {strings.Repeat("a", defaultMaxBytes), reason.TokenMalformed},
		"PA11 nothing":                    {"", reason.TokenMalformed},
		"PA11 two parts":                  {good[:second], reason.TokenMalformed},
		"PA11 no signature":               {good[:second+1], reason.TokenMalformed},
		"PA11 no header":                  {good[first:], reason.TokenMalformed},
		"PA12 NaN":                        {w.idp.Sign(es, []byte(body+`,"x":NaN}`)), reason.TokenMalformed},
		"PA12 comma at the end":           {w.idp.Sign(es, []byte(body+`,}`)), reason.TokenMalformed},
		"PA12 leading zero":               {w.idp.Sign(es, []byte(body+`,"nbf":01}`)), reason.TokenMalformed},
		"opaque":                          {"2YotnFZFEjr1zCsicMWpAA", reason.TokenMalformed},
		"payload changed":                 {good[:first+1] + strings.Split(w.idp.Token(now, claims{"sub": "root"}), ".")[1] + good[second:], reason.SignatureInvalid},
		"forged":                          {extauthztest.Forge(good), reason.SignatureInvalid},
		"form before issuer":              {w.idp.Token(now, claims{"iss": "x"}, header{"alg": "HS256"}), reason.AlgorithmRefused},
		"issuer before key":               {w.idp.Token(now, claims{"iss": "x"}, header{"kid": "x"}), reason.IssuerUnknown},
		"key before claims":               {w.idp.Token(now, claims{"exp": "x"}, header{"kid": "x"}), reason.KeyUnknown},
		"signature before type":           {extauthztest.Forge(w.idp.Token(now, header{"typ": "JWT"})), reason.SignatureInvalid},
		"audience before type":            {w.idp.Token(now, claims{"aud": "x"}, header{"typ": "JWT"}), reason.AudienceMismatch},
		"audience before claims":          {w.idp.Token(now, claims{"aud": "x", "exp": "x"}), reason.AudienceMismatch},
		"claims before time":              {w.idp.Token(now, claims{"sub": 1, "exp": 1}), reason.ClaimsInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			s := w.expect(t, c.raw, c.want)
			verified := slices.Contains([]reason.Reason{reason.OK, reason.TypeRefused, reason.AudienceMismatch, reason.ClaimsInvalid}, c.want)
			if !verified && (*s != Session{digest: s.digest}) {
				t.Errorf("something was read of a token that does not verify: %+v", s)
			}
		})
	}
}

// TestTypes holds JA11: every other kind of JWT sent as an access token.
func TestTypes(t *testing.T) {
	w := newWorld(t)
	strict := func(typ any) string { return w.idp.Token(now, header{"typ": typ}) }
	loose := func(typ any, c claims) string { return w.loose.Token(now, header{"typ": typ}, c) }
	for name, c := range map[string]struct {
		raw  string
		want reason.Reason
	}{
		"at+jwt":                        {strict("at+jwt"), reason.OK},
		"at+JWT":                        {strict("at+JWT"), reason.OK},
		"application/at+jwt":            {strict("application/at+jwt"), reason.OK},
		"APPLICATION/AT+JWT":            {strict("APPLICATION/AT+JWT"), reason.OK},
		"JA11 ID token":                 {strict("JWT"), reason.TypeRefused},
		"JA11 none":                     {strict(absent), reason.TypeRefused},
		"JA11 empty":                    {strict(""), reason.TypeRefused},
		"JA11 logout+jwt":               {strict("logout+jwt"), reason.TypeRefused},
		"JA11 secevent+jwt":             {strict("secevent+jwt"), reason.TypeRefused},
		"JA11 dpop+jwt":                 {strict("dpop+jwt"), reason.TypeRefused},
		"JA11 statuslist+jwt":           {strict("statuslist+jwt"), reason.TypeRefused},
		"JA11 at+jwt with a space":      {strict("at+jwt "), reason.TypeRefused},
		"JA11 application/ alone":       {strict("application/"), reason.TypeRefused},
		"JA11 another main type":        {strict("text/at+jwt"), reason.TypeRefused},
		"JA11 application/ twice":       {strict("application/application/at+jwt"), reason.TypeRefused},
		"typ number":                    {strict(1), reason.TokenMalformed},
		"typ null":                      {strict(nil), reason.TokenMalformed},
		"loose: JWT":                    {loose("JWT", nil), reason.OK},
		"loose: jwt":                    {loose("jwt", nil), reason.OK},
		"loose: none":                   {loose(absent, nil), reason.OK},
		"loose: Keycloak's Bearer":      {loose("JWT", claims{"typ": "Bearer"}), reason.OK},
		"loose: Keycloak's DPoP":        {loose("JWT", claims{"typ": "DPoP"}), reason.OK},
		"loose: bearer":                 {loose("JWT", claims{"typ": "bearer"}), reason.OK},
		"JA11 loose: ID":                {loose("JWT", claims{"typ": "ID"}), reason.TypeRefused},
		"JA11 loose: Refresh":           {loose("JWT", claims{"typ": "Refresh"}), reason.TypeRefused},
		"JA11 loose: Offline":           {loose("JWT", claims{"typ": "Offline"}), reason.TypeRefused},
		"JA11 loose: Logout":            {loose("JWT", claims{"typ": "Logout"}), reason.TypeRefused},
		"JA11 loose: id, no typ":        {loose(absent, claims{"typ": "id"}), reason.TypeRefused},
		"JA11 loose: typ empty":         {loose("JWT", claims{"typ": ""}), reason.TypeRefused},
		"JA11 loose: typ number":        {loose("JWT", claims{"typ": 1}), reason.TypeRefused},
		"JA11 loose: typ null":          {loose("JWT", claims{"typ": nil}), reason.TypeRefused},
		"JA11 loose: nonce":             {loose("JWT", claims{"nonce": "n"}), reason.TypeRefused},
		"JA11 loose: at_hash":           {loose("JWT", claims{"at_hash": "h"}), reason.TypeRefused},
		"JA11 loose: c_hash":            {loose(absent, claims{"c_hash": "h"}), reason.TypeRefused},
		"JA11 loose: events":            {loose("JWT", claims{"events": claims{}}), reason.TypeRefused},
		"JA11 loose: events, null":      {loose("JWT", claims{"events": nil}), reason.TypeRefused},
		"JA11 loose: logout+jwt":        {loose("logout+jwt", nil), reason.TypeRefused},
		"loose: at+jwt may carry nonce": {loose("at+jwt", claims{"nonce": "n"}), reason.OK},
	} {
		t.Run(name, func(t *testing.T) { w.expect(t, c.raw, c.want) })
	}
}
