package token

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

const (
	idpName   = "https://idp.example"
	otherName = "https://other.example"
	looseName = "https://loose.example" // lets typ JWT and none in
	skew      = 30 * time.Second
)

// now has a fraction, as every real one.
var now = time.Unix(1_800_000_000, 250_000_000)

// keys are the issuers' key sets, in memory as the checks see them.
type keys struct {
	sets   map[string]*jose.KeySet
	wanted []string
}

func (k *keys) KeySet(issuer string) (*jose.KeySet, bool) {
	set := k.sets[issuer]
	return set, set != nil
}

func (k *keys) Wanted(issuer string) { k.wanted = append(k.wanted, issuer) }

func (k *keys) load(t testing.TB, issuers ...*extauthztest.Issuer) {
	t.Helper()
	for _, i := range issuers {
		set, err := jose.ParseKeySet(i.JWKS())
		if err != nil {
			t.Fatal(err)
		}
		k.sets[i.Name] = set
	}
}

// world is three issuers and a verifier that knows them.
type world struct {
	idp, other, loose *extauthztest.Issuer
	keys              *keys
	config            Config
	*Verifier
}

func newWorld(t testing.TB, algs ...string) *world {
	t.Helper()
	w := &world{
		idp:   extauthztest.NewIssuer(t, idpName, algs...),
		other: extauthztest.NewIssuer(t, otherName),
		loose: extauthztest.NewIssuer(t, looseName),
		keys:  &keys{sets: map[string]*jose.KeySet{}},
	}
	w.keys.load(t, w.idp, w.other, w.loose)
	one := Issuer{Audiences: []string{"https://first.example", extauthztest.Audience}, Skew: skew}
	idp, other, loose := one, one, one
	idp.Name, other.Name, loose.Name = idpName, otherName, looseName
	loose.Types = []string{"at+jwt", "JWT", ""}
	w.config = Config{Issuers: []Issuer{idp, other, loose}, Keys: w.keys}
	w.rebuild(t)
	return w
}

// rebuild makes the verifier anew, as a reload does.
func (w *world) rebuild(t testing.TB) {
	t.Helper()
	var err error
	if w.Verifier, err = New(w.config); err != nil {
		t.Fatal(err)
	}
}

func (w *world) expect(t *testing.T, raw string, want reason.Reason) *Session {
	t.Helper()
	s := &Session{Sub: "left over from the last request"}
	if got := w.Verify(raw, now, s); got != want {
		t.Errorf("reason is %v, want %v", got, want)
	}
	return s
}

type (
	claims = extauthztest.Claims
	header = extauthztest.Header
)

var absent = extauthztest.Absent

// TestClaims holds the cases JC01 to JC17, PA09 and CA01 that concern the
// token alone: what one changed claim ends in.
func TestClaims(t *testing.T) {
	w := newWorld(t)
	at := now.Unix()
	num := func(s string) json.Number { return json.Number(s) }
	for name, c := range map[string]struct {
		change claims
		want   reason.Reason
	}{
		"nothing changed": {nil, reason.OK},

		"JC01 exp missing":                {claims{"exp": absent}, reason.ClaimsInvalid},
		"JC01 exp null":                   {claims{"exp": nil}, reason.ClaimsInvalid},
		"JC01 exp list":                   {claims{"exp": []int{}}, reason.ClaimsInvalid},
		"JC01 exp object":                 {claims{"exp": claims{}}, reason.ClaimsInvalid},
		"JC01 exp false":                  {claims{"exp": false}, reason.ClaimsInvalid},
		"JC02 exp quoted":                 {claims{"exp": fmt.Sprint(at + 60)}, reason.ClaimsInvalid},
		"JC03 exp 0":                      {claims{"exp": 0}, reason.TokenExpired},
		"JC03 exp -1":                     {claims{"exp": -1}, reason.ClaimsInvalid},
		"JC03 exp -0":                     {claims{"exp": num("-0")}, reason.ClaimsInvalid},
		"JC03 exp 1e300":                  {claims{"exp": num("1e300")}, reason.ClaimsInvalid},
		"JC03 exp 1e400":                  {claims{"exp": num("1e400")}, reason.ClaimsInvalid},
		"JC03 exp 2^63-1":                 {claims{"exp": int64(math.MaxInt64)}, reason.ClaimsInvalid},
		"JC03 exp 2^64+60":                {claims{"exp": num("18446744073709551676")}, reason.ClaimsInvalid},
		"JC03 exp that wraps":             {claims{"exp": num("9223371966579724800")}, reason.ClaimsInvalid},
		"JC03 exp in the year 9999":       {claims{"exp": num("253402300799")}, reason.OK},
		"JC03 exp in the year 10000":      {claims{"exp": num("253402300800")}, reason.ClaimsInvalid},
		"JC03 exp with an exponent":       {claims{"exp": num("2e9")}, reason.ClaimsInvalid},
		"JC03 exp with both":              {claims{"exp": num("2.5E9")}, reason.ClaimsInvalid},
		"exp with a fraction":             {claims{"exp": num(fmt.Sprint(at+60) + ".999")}, reason.OK},
		"exp of a hundred digits":         {claims{"exp": num("1" + strings.Repeat("0", 100))}, reason.ClaimsInvalid},
		"JC04 iat 1e300":                  {claims{"iat": num("1e300")}, reason.ClaimsInvalid},
		"JC04 iat 2^63-1":                 {claims{"iat": int64(math.MaxInt64)}, reason.ClaimsInvalid},
		"JC04 nbf 1e300":                  {claims{"nbf": num("1e300")}, reason.ClaimsInvalid},
		"JC04 nbf 2^63-1":                 {claims{"nbf": int64(math.MaxInt64)}, reason.ClaimsInvalid},
		"JC04 nbf quoted":                 {claims{"nbf": "1"}, reason.ClaimsInvalid},
		"JC04 nbf null":                   {claims{"nbf": nil}, reason.ClaimsInvalid},
		"JC05 iat missing":                {claims{"iat": absent}, reason.ClaimsInvalid},
		"JC05 iat null":                   {claims{"iat": nil}, reason.ClaimsInvalid},
		"JC05 iat quoted":                 {claims{"iat": fmt.Sprint(at)}, reason.ClaimsInvalid},
		"JC05 iat in the future":          {claims{"iat": at + 31}, reason.ClaimsInvalid},
		"JC05 iat within the skew":        {claims{"iat": at + 30}, reason.OK},
		"RV07 iat far in the future":      {claims{"iat": at + 86400, "exp": at + 90000}, reason.ClaimsInvalid},
		"nbf in the future":               {claims{"nbf": at + 31}, reason.TokenNotYetValid},
		"nbf within the skew":             {claims{"nbf": at + 30}, reason.OK},
		"nbf in the past":                 {claims{"nbf": 0}, reason.OK},
		"expired and not yet valid":       {claims{"exp": at - 60, "nbf": at + 60}, reason.TokenExpired},
		"JC07 aud missing":                {claims{"aud": absent}, reason.ClaimsInvalid},
		"JC07 aud null":                   {claims{"aud": nil}, reason.ClaimsInvalid},
		"JC07 aud number":                 {claims{"aud": 1}, reason.ClaimsInvalid},
		"JC07 aud empty":                  {claims{"aud": ""}, reason.AudienceMismatch},
		"JC07 aud empty list":             {claims{"aud": []string{}}, reason.AudienceMismatch},
		"JC07 aud object":                 {claims{"aud": claims{}}, reason.ClaimsInvalid},
		"JC07 aud list of mixed types":    {claims{"aud": []any{extauthztest.Audience, 1}}, reason.ClaimsInvalid},
		"JC07 aud list in a list":         {claims{"aud": []any{[]string{extauthztest.Audience}}}, reason.ClaimsInvalid},
		"JC07 aud list with null":         {claims{"aud": []any{nil, extauthztest.Audience}}, reason.ClaimsInvalid},
		"JC07 aud list of empty":          {claims{"aud": []string{""}}, reason.AudienceMismatch},
		"JC07 aud longer":                 {claims{"aud": extauthztest.Audience + "2"}, reason.AudienceMismatch},
		"JC07 aud shorter":                {claims{"aud": "https://api"}, reason.AudienceMismatch},
		"JC07 aud with a slash":           {claims{"aud": extauthztest.Audience + "/"}, reason.AudienceMismatch},
		"JC07 aud in capitals":            {claims{"aud": strings.ToUpper(extauthztest.Audience)}, reason.AudienceMismatch},
		"JC07 aud with a space":           {claims{"aud": extauthztest.Audience + " "}, reason.AudienceMismatch},
		"JC07 aud joined by spaces":       {claims{"aud": "x " + extauthztest.Audience}, reason.AudienceMismatch},
		"CA01 aud of others":              {claims{"aud": []string{"https://b.example", "https://c.example"}}, reason.AudienceMismatch},
		"aud list with ours":              {claims{"aud": []string{"https://b.example", extauthztest.Audience}}, reason.OK},
		"aud our first":                   {claims{"aud": "https://first.example"}, reason.OK},
		"JC08 iss with a slash":           {claims{"iss": idpName + "/"}, reason.IssuerUnknown},
		"JC08 iss in capitals":            {claims{"iss": "https://IDP.example"}, reason.IssuerUnknown},
		"JC08 iss over http":              {claims{"iss": "http://idp.example"}, reason.IssuerUnknown},
		"JC08 iss shorter":                {claims{"iss": "https://idp"}, reason.IssuerUnknown},
		"JC08 iss longer":                 {claims{"iss": idpName + ".evil"}, reason.IssuerUnknown},
		"JC08 iss with a space":           {claims{"iss": idpName + " "}, reason.IssuerUnknown},
		"JC08 iss empty":                  {claims{"iss": ""}, reason.IssuerUnknown},
		"JC08 iss list":                   {claims{"iss": []string{idpName}}, reason.ClaimsInvalid},
		"JC08 iss missing":                {claims{"iss": absent}, reason.ClaimsInvalid},
		"JC08 iss null":                   {claims{"iss": nil}, reason.ClaimsInvalid},
		"JC09 iss nobody's":               {claims{"iss": "https://nobody.example"}, reason.IssuerUnknown},
		"PA10 iss with NUL":               {claims{"iss": idpName + "\x00"}, reason.IssuerUnknown},
		"PA10 iss of look-alike letters":  {claims{"iss": "https://іdp.example"}, reason.IssuerUnknown},
		"JC10 sub missing":                {claims{"sub": absent, "sid": absent}, reason.ClaimsInvalid},
		"JC10 sub missing, sid empty":     {claims{"sub": absent, "sid": ""}, reason.ClaimsInvalid},
		"JC10 sub missing beside a sid":   {claims{"sub": absent}, reason.OK},
		"JC10 sub empty":                  {claims{"sub": ""}, reason.ClaimsInvalid},
		"JC10 sub number":                 {claims{"sub": 7}, reason.ClaimsInvalid},
		"JC10 sub null":                   {claims{"sub": nil}, reason.ClaimsInvalid},
		"JC10 sub list":                   {claims{"sub": []string{"user-1"}}, reason.ClaimsInvalid},
		"JC10 sub of 4 KiB and a byte":    {claims{"sub": strings.Repeat("s", cache.MaxValueBytes+1)}, reason.ClaimsInvalid},
		"JC10 sub of 4 KiB":               {claims{"sub": strings.Repeat("s", cache.MaxValueBytes)}, reason.OK},
		"JC11 auth_time missing":          {claims{"auth_time": absent}, reason.OK},
		"JC11 auth_time quoted":           {claims{"auth_time": "1"}, reason.ClaimsInvalid},
		"JC11 auth_time negative":         {claims{"auth_time": -1}, reason.ClaimsInvalid},
		"JC11 auth_time null":             {claims{"auth_time": nil}, reason.ClaimsInvalid},
		"JC11 acr list":                   {claims{"acr": []string{"aal2"}}, reason.ClaimsInvalid},
		"JC11 acr number":                 {claims{"acr": 2}, reason.ClaimsInvalid},
		"JC13 jti and sid missing":        {claims{"jti": absent, "sid": absent}, reason.OK},
		"jti number":                      {claims{"jti": 1}, reason.ClaimsInvalid},
		"jti null":                        {claims{"jti": nil}, reason.ClaimsInvalid},
		"sid object":                      {claims{"sid": claims{}}, reason.ClaimsInvalid},
		"JC16 client_id list":             {claims{"client_id": []string{"client-1"}}, reason.ClaimsInvalid},
		"JC16 azp number":                 {claims{"azp": 1}, reason.ClaimsInvalid},
		"JC16 azp number, no client_id":   {claims{"azp": 1, "client_id": absent}, reason.ClaimsInvalid},
		"JC17 scope list":                 {claims{"scope": []string{"read"}}, reason.ClaimsInvalid},
		"JC17 scope number":               {claims{"scope": 1}, reason.ClaimsInvalid},
		"tenant number":                   {claims{"tenant": 1}, reason.ClaimsInvalid},
		"device object":                   {claims{"device_id": claims{}}, reason.ClaimsInvalid},
		"claims nobody knows":             {claims{"x": []any{1, nil, claims{"y": "z"}}}, reason.OK},
		"PA02 exp in capitals only":       {claims{"exp": absent, "EXP": at + 60}, reason.ClaimsInvalid},
		"PA02 sub with a long s only":     {claims{"sub": absent, "sid": absent, "ſub": "user-1"}, reason.ClaimsInvalid},
		"PA02 other case beside the true": {claims{"SUB": "root", "Exp": 1, "ISS": "x"}, reason.OK},
		"JA11 a SET's events":             {claims{"events": claims{}}, reason.TypeRefused},
	} {
		t.Run(name, func(t *testing.T) {
			s := w.expect(t, w.idp.Token(now, c.change), c.want)
			if c.want == reason.OK && s.Issuer != idpName {
				t.Errorf("session %+v", s)
			}
		})
	}
}

// TestTimeEdges holds TI01: where a token's life begins and ends, to the nanosecond.
func TestTimeEdges(t *testing.T) {
	w := newWorld(t)
	exp := now.Unix() + 60
	raw := w.idp.Token(now, claims{"exp": exp, "nbf": now.Unix() - 60, "iat": now.Unix() - 60})
	end, begin := time.Unix(exp, 0).Add(skew), time.Unix(now.Unix()-60, 0).Add(-skew)
	for name, c := range map[string]struct {
		at   time.Time
		want reason.Reason
	}{
		"at exp":                          {time.Unix(exp, 0), reason.OK},
		"the last nanosecond of the skew": {end.Add(-1), reason.OK},
		"exp and the skew":                {end, reason.TokenExpired},
		"a second later":                  {end.Add(time.Second), reason.TokenExpired},
		"the first moment":                {begin, reason.OK},
		"a nanosecond before":             {begin.Add(-1), reason.ClaimsInvalid}, // iat and nbf ahead: iat is said first
		"long before":                     {time.Unix(0, 0), reason.ClaimsInvalid},
		"the zero time":                   {time.Time{}, reason.ClaimsInvalid},
		"a thousand years later":          {now.AddDate(1000, 0, 0), reason.TokenExpired},
	} {
		t.Run(name, func(t *testing.T) {
			if got := w.Verify(raw, c.at, &Session{}); got != c.want {
				t.Errorf("reason is %v, want %v", got, c.want)
			}
		})
	}
	// TI04: fractions are dropped, so exp is never later than it says.
	raw = w.idp.Token(now, claims{"exp": json.Number(fmt.Sprint(exp) + ".9")})
	if got := w.Verify(raw, end, &Session{}); got != reason.TokenExpired {
		t.Errorf("fraction of exp: %v", got)
	}
}

func TestKeys(t *testing.T) {
	w := newWorld(t)
	good := w.idp.Token(now)
	w.expect(t, good, reason.OK)
	if len(w.keys.wanted) != 0 {
		t.Errorf("a good token asked for keys of %v", w.keys.wanted)
	}

	w.expect(t, w.idp.Token(now, header{"kid": "new"}), reason.KeyUnknown)
	if !slices.Equal(w.keys.wanted, []string{idpName}) {
		t.Errorf("an unknown kid asked for keys of %v", w.keys.wanted)
	}
	w.expect(t, w.idp.Token(now, claims{"iss": "https://nobody.example"}), reason.IssuerUnknown)
	w.expect(t, extauthztest.Forge(good), reason.SignatureInvalid)
	w.expect(t, w.idp.Token(now, header{"alg": "none"}), reason.AlgorithmRefused)
	if len(w.keys.wanted) != 1 {
		t.Errorf("keys were asked for without need: %v", w.keys.wanted)
	}

	// CA07: the key is rotated in, and the very token that was unknown is good.
	w.idp.AddKey("ES256", "new")
	fresh := w.idp.Token(now, extauthztest.Key("new"))
	w.expect(t, fresh, reason.KeyUnknown)
	w.keys.load(t, w.idp)
	w.expect(t, fresh, reason.OK)

	delete(w.keys.sets, idpName)
	w.expect(t, good, reason.KeysUnavailable)
	w.expect(t, w.other.Token(now), reason.OK)
}

func TestBoundOnSignatureChecks(t *testing.T) {
	w := newWorld(t)
	free, running := 1, 0
	w.config.Acquire = func() bool {
		if running == free {
			return false
		}
		running++
		return true
	}
	w.config.Release = func() { running-- }
	w.rebuild(t)
	good := w.idp.Token(now)
	w.expect(t, good, reason.OK)
	w.expect(t, extauthztest.Forge(good), reason.SignatureInvalid)
	if running != 0 {
		t.Fatalf("%d checks were not released", running)
	}
	free = 0
	w.expect(t, good, reason.Overloaded)
	// What needs no signature check is not held up.
	w.expect(t, "x", reason.TokenMalformed)
	w.expect(t, w.idp.Token(now, header{"kid": "x"}), reason.KeyUnknown)
	if running != 0 {
		t.Errorf("%d checks are still held", running)
	}
}

// The slot is given back even where the mathematics panics, and nothing is let through.
func TestPanicReleases(t *testing.T) {
	w := newWorld(t)
	running := 0
	w.config.Acquire = func() bool { running++; return true }
	w.config.Release = func() { running-- }
	w.rebuild(t)
	func() {
		defer func() { _ = recover() }()
		w.signature(nil, nil)
		t.Error("a missing key does not panic")
	}()
	if running != 0 {
		t.Error("the slot was kept")
	}
}

func TestNewRefuses(t *testing.T) {
	w := newWorld(t)
	for name, change := range map[string]func(c *Config){
		"no issuers":          func(c *Config) { c.Issuers = nil },
		"no keys":             func(c *Config) { c.Keys = nil },
		"issuer without name": func(c *Config) { c.Issuers[0].Name = "" },
		"issuer twice":        func(c *Config) { c.Issuers[1].Name = c.Issuers[0].Name },
		"no audiences":        func(c *Config) { c.Issuers[0].Audiences = nil },
		"an empty audience":   func(c *Config) { c.Issuers[0].Audiences = []string{"a", ""} },
		"algorithm none":      func(c *Config) { c.Issuers[0].Algorithms = []string{"ES256", "none"} },
		"algorithm HS256":     func(c *Config) { c.Issuers[0].Algorithms = []string{"HS256"} },
		"algorithm unknown":   func(c *Config) { c.Issuers[0].Algorithms = []string{"es256"} },
		"TI06 skew negative":  func(c *Config) { c.Issuers[0].Skew = -1 },
		"TI06 skew over 5m":   func(c *Config) { c.Issuers[0].Skew = 5*time.Minute + 1 },
		"limit negative":      func(c *Config) { c.MaxBytes = -1 },
		"limit over 64 KiB":   func(c *Config) { c.MaxBytes = 64<<10 + 1 },
		"acquire alone":       func(c *Config) { c.Acquire = func() bool { return true } },
		"release alone":       func(c *Config) { c.Release = func() {} },
	} {
		t.Run(name, func(t *testing.T) {
			c := w.config
			c.Issuers = slices.Clone(c.Issuers)
			change(&c)
			if _, err := New(c); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	i, err := compile(Issuer{Name: "i", Audiences: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(i.Algorithms, []string{"ES256", "ES384", "EdDSA", "PS256", "RS256"}) || !slices.Equal(i.Types, []string{"at+jwt"}) ||
		i.Claims != (ClaimNames{"sid", "client_id", "tenant", "device_id"}) {
		t.Errorf("defaults are %+v", i.Issuer)
	}
}
