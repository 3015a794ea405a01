package token

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

var thumb, thumb2 = extauthztest.Thumbprint([]byte("certificate")), extauthztest.Thumbprint([]byte("key"))

func TestSession(t *testing.T) {
	w := newWorld(t)
	at := time.Unix(now.Unix(), 0).UTC()
	raw := w.idp.Token(now, header{"typ": "application/AT+JWT"}, claims{
		"jti": "jti", "tenant": "blue", "device_id": "phone", "nbf": at.Unix() - 5, "auth_time": at.Unix() - 9,
		"cnf": claims{"x5t#S256": thumb, "jkt": thumb2, "kc-jkt-type": "x"},
	})
	got := w.expect(t, raw, reason.OK)
	want := &Session{
		Issuer: idpName, Sub: extauthztest.Subject, SID: extauthztest.Session, JTI: "jti", Client: extauthztest.Client,
		Tenant: "blue", Device: "phone", KeyID: "es256-1", Type: "at+jwt", ACR: extauthztest.ACR, Scope: extauthztest.Scope,
		Issued: at, NotBefore: at.Add(-5 * time.Second), Auth: at.Add(-9 * time.Second), Until: at.Add(extauthztest.Lifetime),
		Confirm:  Confirmation{Present: true, X5T: thumb, JKT: thumb2},
		OtherKey: cache.KeyOf(cache.BindingKey, "", thumb2),
	}
	sum := sha256.Sum256([]byte(raw[:strings.LastIndexByte(raw, '.')]))
	for kind, value := range map[cache.Kinds]string{
		cache.Token: "jti", cache.Session: extauthztest.Session, cache.User: extauthztest.Subject, cache.Client: extauthztest.Client,
		cache.Tenant: "blue", cache.Issuer: idpName, cache.SigningKey: "es256-1", cache.BindingKey: thumb, cache.Device: "phone",
		cache.TokenHash: base64.RawURLEncoding.EncodeToString(sum[:]),
	} {
		want.Subject.Set(kind, cache.KeyOf(kind, idpName, value))
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Session{})); diff != "" {
		t.Error(diff)
	}
}

// What a token does not have names nothing: an empty value is no value.
func TestSubjectOfLittle(t *testing.T) {
	w := newWorld(t)
	s := w.expect(t, w.idp.Token(now, claims{
		"jti": absent, "sid": "", "client_id": absent, "azp": absent, "auth_time": absent, "acr": absent, "scope": absent,
	}), reason.OK)
	for _, kind := range cache.AllKinds() {
		_, has := s.Subject.Key(kind)
		if want := kind == cache.User || kind == cache.Issuer || kind == cache.SigningKey || kind == cache.TokenHash; has != want {
			t.Errorf("%v is named: %v", kind, has)
		}
	}
	if !s.Auth.IsZero() || !s.NotBefore.IsZero() || s.Confirm != (Confirmation{}) {
		t.Errorf("session %+v", s)
	}
}

func TestSubjectKeys(t *testing.T) {
	w := newWorld(t)
	subject := func(raw string) cache.Subject { return w.expect(t, raw, reason.OK).Subject }
	key := func(s cache.Subject, kind cache.Kinds) cache.Key { k, _ := s.Key(kind); return k }
	good := w.idp.Token(now)

	// RV01: the twin signature is another text and the same token.
	if a, b := subject(good), subject(extauthztest.Twin(good)); a != b {
		t.Error("(r, n-s) has other names: it would dodge a revocation")
	}
	// RV02, PA10: exact bytes.
	for name, pair := range map[string][2]claims{
		"RV02 jti in another case":   {{"jti": "Ab"}, {"jti": "aB"}},
		"RV02 jti with a space":      {{"jti": "ab"}, {"jti": "ab "}},
		"PA10 jti with NUL":          {{"jti": "ab"}, {"jti": "ab\x00"}},
		"PA10 jti composed, not":     {{"jti": "é"}, {"jti": "e\u0301"}},
		"PA10 jti of another script": {{"jti": "a"}, {"jti": "а"}},
	} {
		if key(subject(w.idp.Token(now, pair[0])), cache.Token) == key(subject(w.idp.Token(now, pair[1])), cache.Token) {
			t.Errorf("%s: the same name", name)
		}
	}
	// An escape is another spelling of the same value.
	es := []byte(`{"alg":"ES256","typ":"at+jwt","kid":"es256-1"}`)
	body := `{"iss":"` + idpName + `","aud":"` + extauthztest.Audience + `","iat":1800000000,"exp":1800000300,`
	plain, escaped := subject(w.idp.Sign(es, []byte(body+`"sub":"user"}`))), subject(w.idp.Sign(es, []byte(body+`"\u0073ub":"\u0075ser"}`)))
	if key(plain, cache.User) != key(escaped, cache.User) {
		t.Error("an escaped sub has another name: it would dodge a revocation")
	}
	// RV03: one sub at two issuers is two subjects.
	if key(subject(good), cache.User) == key(subject(w.other.Token(now)), cache.User) {
		t.Error("RV03: the same sub at another issuer has the same name")
	}
	// RV06: a refreshed token is of the same session.
	if key(subject(good), cache.Session) != key(subject(w.idp.Token(now, claims{"iat": now.Unix() - 9})), cache.Session) {
		t.Error("RV06: a refreshed token has another session")
	}
	// A key is named also where the token leaves its kid out.
	if key(subject(w.idp.Token(now, header{"kid": absent})), cache.SigningKey) != cache.KeyOf(cache.SigningKey, idpName, "es256-1") {
		t.Error("without kid the signing key has no name")
	}
}

// TestConfirmation holds JC12, MT03 and contract §6 on cnf.
func TestConfirmation(t *testing.T) {
	w := newWorld(t)
	hex := strings.Repeat("0f", 32)
	for name, c := range map[string]struct {
		cnf  any
		want Confirmation
		ends reason.Reason
	}{
		"absent":                     {absent, Confirmation{}, reason.OK},
		"x5t#S256":                   {claims{"x5t#S256": thumb}, Confirmation{Present: true, X5T: thumb}, reason.OK},
		"jkt":                        {claims{"jkt": thumb}, Confirmation{Present: true, JKT: thumb}, reason.OK},
		"both":                       {claims{"jkt": thumb2, "x5t#S256": thumb}, Confirmation{Present: true, X5T: thumb, JKT: thumb2}, reason.OK},
		"a member nobody registered": {claims{"jkt": thumb, "kc-jkt-type": "x"}, Confirmation{Present: true, JKT: thumb}, reason.OK},
		"JC12 {}":                    {claims{}, Confirmation{Present: true, Unsupported: true}, reason.OK},
		"JC12 null":                  {nil, Confirmation{Present: true, Unsupported: true}, reason.OK},
		"JC12 unknown member only":   {claims{"x": 1}, Confirmation{Present: true, Unsupported: true}, reason.OK},
		"JC12 name in another case":  {claims{"x5t#s256": thumb}, Confirmation{Present: true, Unsupported: true}, reason.OK},
		"JC12 JKT in another case":   {claims{"JKT": thumb}, Confirmation{Present: true, Unsupported: true}, reason.OK},
		"x5t of SHA-1 only":          {claims{"x5t": "AAAA"}, Confirmation{Present: true, Unsupported: true}, reason.OK},
		"jwk":                        {claims{"jwk": claims{}}, Confirmation{Present: true, Unsupported: true}, reason.OK},
		"jwk beside x5t#S256":        {claims{"jwk": nil, "x5t#S256": thumb}, Confirmation{Present: true, Unsupported: true, X5T: thumb}, reason.OK},
		"jwe beside jkt":             {claims{"jwe": "", "jkt": thumb}, Confirmation{Present: true, Unsupported: true, JKT: thumb}, reason.OK},
		"kid beside jkt":             {claims{"kid": "k", "jkt": thumb}, Confirmation{Present: true, Unsupported: true, JKT: thumb}, reason.OK},
		"jku beside jkt":             {claims{"jku": "u", "jkt": thumb}, Confirmation{Present: true, Unsupported: true, JKT: thumb}, reason.OK},
		"osc beside jkt":             {claims{"osc": claims{}, "jkt": thumb}, Confirmation{Present: true, Unsupported: true, JKT: thumb}, reason.OK},
		"string":                     {"x", Confirmation{}, reason.ClaimsInvalid},
		"number":                     {1, Confirmation{}, reason.ClaimsInvalid},
		"list":                       {[]any{claims{"jkt": thumb}}, Confirmation{}, reason.ClaimsInvalid},
		"false":                      {false, Confirmation{}, reason.ClaimsInvalid},
		"MT03 hex":                   {claims{"x5t#S256": hex}, Confirmation{}, reason.ClaimsInvalid},
		"MT03 padded":                {claims{"x5t#S256": thumb + "="}, Confirmation{}, reason.ClaimsInvalid},
		"MT03 standard base64":       {claims{"x5t#S256": "+" + thumb[1:]}, Confirmation{}, reason.ClaimsInvalid},
		"MT03 42 characters":         {claims{"x5t#S256": thumb[:42]}, Confirmation{}, reason.ClaimsInvalid},
		"MT03 44 characters":         {claims{"x5t#S256": thumb + "A"}, Confirmation{}, reason.ClaimsInvalid},
		"MT03 empty":                 {claims{"x5t#S256": ""}, Confirmation{}, reason.ClaimsInvalid},
		"MT03 with a line end":       {claims{"x5t#S256": thumb[:42] + "\n" + thumb[42:]}, Confirmation{}, reason.ClaimsInvalid},
		"MT03 43 with a line end":    {claims{"x5t#S256": thumb[:42] + "\n"}, Confirmation{}, reason.ClaimsInvalid},
		"MT03 stray bits":            {claims{"x5t#S256": thumb[:42] + "B"}, Confirmation{}, reason.ClaimsInvalid},
		"x5t#S256 null":              {claims{"x5t#S256": nil}, Confirmation{}, reason.ClaimsInvalid},
		"x5t#S256 number":            {claims{"x5t#S256": 1}, Confirmation{}, reason.ClaimsInvalid},
		"x5t#S256 list":              {claims{"x5t#S256": []string{thumb}}, Confirmation{}, reason.ClaimsInvalid},
		"jkt number":                 {claims{"jkt": 1}, Confirmation{}, reason.ClaimsInvalid},
		"jkt too short":              {claims{"jkt": thumb[:42]}, Confirmation{}, reason.ClaimsInvalid},
		"x5t#S256 good, jkt not":     {claims{"x5t#S256": thumb, "jkt": "x"}, Confirmation{}, reason.ClaimsInvalid},
		"claims before the methods":  {claims{"jwk": claims{}, "jkt": "x"}, Confirmation{}, reason.ClaimsInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			s := w.expect(t, w.idp.Token(now, claims{"cnf": c.cnf}), c.ends)
			if c.ends == reason.OK && s.Confirm != c.want {
				t.Errorf("confirmation %+v, want %+v", s.Confirm, c.want)
			}
			key, _ := s.Subject.Key(cache.BindingKey)
			if bound := c.want.X5T != "" || c.want.JKT != ""; bound != (key != cache.Key{}) {
				t.Errorf("binding key %x", key)
			}
			if both := c.want.X5T != "" && c.want.JKT != ""; both != (s.OtherKey != cache.Key{}) {
				t.Errorf("other key %x", s.OtherKey)
			}
		})
	}
}

func TestClaimNames(t *testing.T) {
	w := newWorld(t)
	w.config.Issuers[0].Claims = ClaimNames{Session: "session_state", Client: "app", Tenant: "org", Device: "dev"}
	w.rebuild(t)
	s := w.expect(t, w.idp.Token(now, claims{"session_state": "S", "app": "A", "org": "O", "dev": "D", "tenant": 1, "device_id": 1}), reason.OK)
	if s.SID != "S" || s.Client != "A" || s.Tenant != "O" || s.Device != "D" {
		t.Errorf("session %+v", s)
	}
	// The registered names keep their types.
	w.expect(t, w.idp.Token(now, claims{"sid": 1}), reason.ClaimsInvalid)
	w.expect(t, w.idp.Token(now, claims{"client_id": 1}), reason.ClaimsInvalid)
	// A lightweight token is one with the session claim that was configured.
	w.expect(t, w.idp.Token(now, claims{"sub": absent}), reason.ClaimsInvalid)
	w.expect(t, w.idp.Token(now, claims{"sub": absent, "session_state": "S"}), reason.OK)

	w.config.Issuers[0].Claims = ClaimNames{}
	w.rebuild(t)
	for name, c := range map[string]struct {
		change claims
		want   string
	}{
		"client_id":          {claims{"azp": "other"}, extauthztest.Client},
		"azp":                {claims{"client_id": absent, "azp": "other"}, "other"},
		"client_id is empty": {claims{"client_id": "", "azp": "other"}, "other"},
		"neither":            {claims{"client_id": absent}, ""},
	} {
		if s := w.expect(t, w.idp.Token(now, c.change), reason.OK); s.Client != c.want {
			t.Errorf("%s: client %q", name, s.Client)
		}
	}
}

func TestClassify(t *testing.T) {
	w := newWorld(t)
	var types []string
	w.config.Classify = func(typ string, s *Session, claims *jose.Object) uint64 {
		types = append(types, typ)
		if s.Sub != extauthztest.Subject || !claims.Has("iss") {
			t.Errorf("classify sees %+v", s)
		}
		return 1 << 63
	}
	w.rebuild(t)
	if s := w.expect(t, w.idp.Token(now), reason.OK); s.Classes != 1<<63 {
		t.Errorf("classes %x", s.Classes)
	}
	w.expect(t, w.loose.Token(now, header{"typ": absent}), reason.OK)
	w.expect(t, w.idp.Token(now, claims{"sub": 1}), reason.ClaimsInvalid)
	w.expect(t, extauthztest.Forge(w.idp.Token(now)), reason.SignatureInvalid)
	if diff := cmp.Diff([]string{"at+jwt", ""}, types); diff != "" {
		t.Errorf("classify was asked for: %s", diff)
	}
}
