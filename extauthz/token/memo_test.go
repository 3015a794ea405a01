package token

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/cache/memo"
	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// remembering is a world with memos, that counts its signature checks.
type remembering struct {
	*world
	good, bad *memo.Memo
	checks    int
}

func newRemembering(t testing.TB) *remembering {
	t.Helper()
	r := &remembering{world: newWorld(t)}
	for _, m := range []**memo.Memo{&r.good, &r.bad} {
		var err error
		if *m, err = memo.New(memo.Config{TTL: time.Hour, MaxMB: 1}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup((*m).Close)
	}
	r.config.Good, r.config.Bad = r.good, r.bad
	r.config.Acquire = func() bool { r.checks++; return true }
	r.config.Release = func() {}
	r.config.Classify = func(string, *Session, *jose.Object) uint64 { return 5 }
	r.rebuild(t)
	return r
}

// costs runs Verify and wants a reason and a number of signature checks.
func (r *remembering) costs(t *testing.T, raw string, at time.Time, want reason.Reason, checks int) *Session {
	t.Helper()
	r.checks = 0
	s := &Session{}
	if got := r.Verify(raw, at, s); got != want || r.checks != checks {
		t.Errorf("reason %v after %d checks, want %v after %d", got, r.checks, want, checks)
	}
	return s
}

func TestHitGivesTheSameSession(t *testing.T) {
	r := newRemembering(t)
	for name, c := range map[string]claims{
		"plain":  nil,
		"little": {"jti": absent, "sid": absent, "client_id": absent, "auth_time": absent, "acr": absent, "scope": absent},
		"all": {"tenant": "t", "device_id": "d", "nbf": 1, "azp": "x", "auth_time": 0, "sub": strings.Repeat("s", 3000),
			"cnf": claims{"jkt": thumb, "x5t#S256": thumb2, "jwk": claims{}}},
		"cnf of nothing": {"cnf": claims{}},
	} {
		t.Run(name, func(t *testing.T) {
			raw := r.idp.Token(now, c)
			first := r.costs(t, raw, now, reason.OK, 1)
			second := r.costs(t, raw, now, reason.OK, 0)
			if *first != *second {
				t.Errorf("the hit differs: %s", cmp.Diff(first, second, cmpopts.IgnoreUnexported(Session{})))
			}
		})
	}
}

// A hit spares the signature and nothing else.
func TestHitJudgesTime(t *testing.T) {
	r := newRemembering(t)
	raw := r.idp.Token(now, claims{"nbf": now.Unix() + 20})
	r.costs(t, raw, now, reason.OK, 1)
	r.costs(t, raw, now.Add(extauthztest.Lifetime+skew-time.Second), reason.OK, 0)
	r.costs(t, raw, now.Add(extauthztest.Lifetime+skew), reason.TokenExpired, 0) // CA06
	r.costs(t, raw, now.Add(-20*time.Second), reason.TokenNotYetValid, 0)
	r.costs(t, raw, now.Add(-time.Hour), reason.ClaimsInvalid, 0) // TI02: iat lies ahead of a clock that stepped back
	r.costs(t, raw, now, reason.OK, 0)

	// A token that was first seen too late or too early is remembered too.
	old := r.idp.Token(now, claims{"exp": now.Unix() - 60})
	r.costs(t, old, now, reason.TokenExpired, 1)
	r.costs(t, old, now, reason.TokenExpired, 0)
}

// CA05: the memo goes by the whole text.
func TestForgedSignatureMisses(t *testing.T) {
	r := newRemembering(t)
	good := r.idp.Token(now)
	r.costs(t, good, now, reason.OK, 1)
	forged := extauthztest.Forge(good)
	r.costs(t, forged, now, reason.SignatureInvalid, 1)
	r.costs(t, forged, now, reason.SignatureInvalid, 0) // the negative memo
	r.costs(t, good, now, reason.OK, 0)
	r.costs(t, extauthztest.Twin(good), now, reason.OK, 1)
}

func TestOnlyThatIsRemembered(t *testing.T) {
	r := newRemembering(t)
	for name, c := range map[string]struct {
		raw    string
		want   reason.Reason
		checks int // each time
	}{
		"malformed":         {"x.y.z", reason.TokenMalformed, 0},
		"algorithm refused": {r.idp.Token(now, header{"alg": "none"}), reason.AlgorithmRefused, 0},
		"issuer unknown":    {r.idp.Token(now, claims{"iss": "x"}), reason.IssuerUnknown, 0},
		"key unknown":       {r.idp.Token(now, header{"kid": "x"}), reason.KeyUnknown, 0},
		"type refused":      {r.idp.Token(now, header{"typ": "JWT"}), reason.TypeRefused, 1},
		"audience mismatch": {r.idp.Token(now, claims{"aud": "x"}), reason.AudienceMismatch, 1},
		"claims invalid":    {r.idp.Token(now, claims{"sub": 1}), reason.ClaimsInvalid, 1},
	} {
		r.costs(t, c.raw, now, c.want, c.checks)
		r.costs(t, c.raw, now, c.want, c.checks)
		if r.good.Stats().Entries+r.bad.Stats().Entries != 0 {
			t.Errorf("%s is remembered", name)
		}
	}
}

// JK12: a key that was withdrawn takes its remembered tokens along.
func TestWithdrawnKey(t *testing.T) {
	r := newRemembering(t)
	r.idp.AddKey("ES256", "second")
	r.keys.load(t, r.idp)
	first, second := r.idp.Token(now), r.idp.Token(now, extauthztest.Key("second"))
	r.costs(t, first, now, reason.OK, 1)
	r.costs(t, second, now, reason.OK, 1)
	r.idp.DropKey("es256-1")
	r.keys.load(t, r.idp)
	r.costs(t, first, now, reason.KeyUnknown, 0)
	r.costs(t, second, now, reason.OK, 1)
	r.costs(t, second, now, reason.OK, 0)

	delete(r.keys.sets, idpName)
	r.costs(t, second, now, reason.KeysUnavailable, 0)
	// Another issuer's set does not do.
	r.keys.sets[idpName] = r.keys.sets[otherName]
	r.costs(t, second, now, reason.KeyUnknown, 0)
}

// A signature that was wrong under the old keys may be right under the new.
func TestNegativeEndsWithTheKeys(t *testing.T) {
	r := newRemembering(t)
	later := extauthztest.NewIssuer(t, idpName)
	raw := later.Token(now)
	r.costs(t, raw, now, reason.SignatureInvalid, 1)
	r.costs(t, raw, now, reason.SignatureInvalid, 0)
	r.keys.load(t, later)
	r.costs(t, raw, now, reason.OK, 1)
}

// CA10: what another configuration verified is verified again.
func TestReload(t *testing.T) {
	for name, c := range map[string]struct {
		change func(c *Config)
		want   reason.Reason
		checks int
	}{
		"another generation": {func(c *Config) { c.Generation++ }, reason.OK, 1},
		"algorithms tighten": {func(c *Config) { c.Issuers[0].Algorithms = []string{"RS256"} }, reason.AlgorithmRefused, 0},
		"audiences tighten":  {func(c *Config) { c.Issuers[0].Audiences = []string{"https://c.example"} }, reason.AudienceMismatch, 1},
		"types tighten":      {func(c *Config) { c.Issuers[0].Types = []string{"JWT"} }, reason.TypeRefused, 1},
		"issuer removed":     {func(c *Config) { c.Issuers = c.Issuers[1:] }, reason.IssuerUnknown, 0},
		"claim names change": {func(c *Config) { c.Issuers[0].Claims.Session = "jti" }, reason.OK, 1},
		"nothing changes":    {func(*Config) {}, reason.OK, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRemembering(t)
			raw := r.idp.Token(now)
			r.costs(t, raw, now, reason.OK, 1)
			r.config.Issuers = slices.Clone(r.config.Issuers)
			c.change(&r.config)
			r.rebuild(t)
			r.costs(t, raw, now, c.want, c.checks)
		})
	}
}

// entries is a Memo that hands out whatever the test put in.
type entries struct{ v []byte }

func (e *entries) Get(*[32]byte, []byte) ([]byte, bool) { return bytes.Clone(e.v), e.v != nil }
func (e *entries) Put(_ *[32]byte, v []byte)            { e.v = bytes.Clone(v) }

// CA09: an entry that is not exactly what was put is a miss, never an answer.
func TestOddEntriesMiss(t *testing.T) {
	r := newRemembering(t)
	good, bad := &entries{}, &entries{}
	r.config.Good, r.config.Bad = good, bad
	r.rebuild(t)
	raw := r.idp.Token(now, claims{"cnf": claims{"jkt": thumb, "x5t#S256": thumb2}, "nbf": 1})
	want := r.costs(t, raw, now, reason.OK, 1)
	entry := bytes.Clone(good.v)
	r.costs(t, raw, now, reason.OK, 0)

	miss := func(name string, v []byte) {
		t.Helper()
		good.v = v
		if s := r.costs(t, raw, now, reason.OK, 1); *s != *want {
			t.Errorf("%s: the session differs: %+v", name, s)
		}
	}
	for n := range entry {
		miss("cut short", entry[:n])
	}
	miss("a byte too many", append(bytes.Clone(entry), 0))
	for at := range guardBytes + 1 + len(idpName) + 1 { // guard, issuer, flags: none may be another
		odd := bytes.Clone(entry)
		odd[at] ^= 0x80
		miss("a bit turned in the guard", odd)
	}
	// The session of another token, under this one's digest.
	r.costs(t, r.idp.Token(now, claims{"sub": "root"}), now, reason.OK, 1)
	miss("another token's entry", bytes.Clone(good.v))
	// A negative entry is no positive one, and the other way round.
	forged := extauthztest.Forge(raw)
	good.v = nil
	r.costs(t, forged, now, reason.SignatureInvalid, 1)
	negative := bytes.Clone(bad.v)
	r.costs(t, forged, now, reason.SignatureInvalid, 0)
	good.v, bad.v = negative, nil
	r.costs(t, forged, now, reason.SignatureInvalid, 1)
	bad.v = entry
	miss("no entry, a positive one among the negative", nil)
	bad.v = append(negative, 0)
	r.costs(t, forged, now, reason.SignatureInvalid, 1)
}

// Both memos may be one.
func TestOneMemoForBoth(t *testing.T) {
	r := newRemembering(t)
	r.config.Bad = r.config.Good
	r.rebuild(t)
	good := r.idp.Token(now)
	forged := extauthztest.Forge(good)
	for range 2 {
		r.Verify(good, now, &Session{})
		r.Verify(forged, now, &Session{})
	}
	r.costs(t, good, now, reason.OK, 0)
	r.costs(t, forged, now, reason.SignatureInvalid, 0)
}

// FuzzSession: whatever bytes a memo hands out, decoding them ends well, and
// what is accepted is written again as the same session.
func FuzzSession(f *testing.F) {
	full := Session{
		Sub: "s", SID: "i", JTI: "j", Client: "c", Tenant: "t", Device: "d", KeyID: "k", Type: "at+jwt", ACR: "a", Scope: "s",
		Issued: now.Truncate(time.Second), Until: now.Truncate(time.Second), Auth: time.Unix(0, 0), NotBefore: time.Unix(1, 0),
		Confirm: Confirmation{Present: true, X5T: thumb, JKT: thumb2}, Classes: 7, OtherKey: cache.Key{1},
	}
	full.Subject.Set(cache.User, cache.Key{2})
	f.Add(full.encode(nil))
	empty := Session{Issued: time.Unix(0, 0), Until: time.Unix(maxDate, 0)}
	f.Add(empty.encode(nil))
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s, again Session
		if !s.decode(b) {
			return
		}
		if !again.decode(s.encode(nil)) || again != s {
			t.Fatalf("%+v is read again as %+v", s, again)
		}
	})
}

func TestHitAllocs(t *testing.T) {
	r := newRemembering(t)
	raw := r.idp.Token(now)
	s := &Session{}
	r.Verify(raw, now, s)
	// bigcache copies its key and the value; nothing is added to that.
	if n := testing.AllocsPerRun(500, func() {
		if r.Verify(raw, now, s) != reason.OK {
			t.Fatal("not ok")
		}
	}); n > 2 {
		t.Errorf("a hit allocates %v times", n)
	}
}

func BenchmarkVerify(b *testing.B) {
	r := newRemembering(b)
	raw := r.idp.Token(now)
	s := &Session{}
	b.Run("hit", func(b *testing.B) {
		r.Verify(raw, now, s)
		b.ReportAllocs()
		for b.Loop() {
			if r.Verify(raw, now, s) != reason.OK {
				b.Fatal("not ok")
			}
		}
	})
	b.Run("full", func(b *testing.B) {
		r.config.Good, r.config.Bad = nil, nil
		r.rebuild(b)
		b.ReportAllocs()
		for b.Loop() {
			if r.Verify(raw, now, s) != reason.OK {
				b.Fatal("not ok")
			}
		}
	})
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := jose.Parse(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ecdsa.Verify", func(b *testing.B) {
		public := r.idp.Signer("es256-1").Public().(*ecdsa.PublicKey)
		dot := strings.LastIndexByte(raw, '.')
		signature, err := base64.RawURLEncoding.DecodeString(raw[dot+1:])
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			sum := sha256.Sum256([]byte(raw[:dot]))
			if !ecdsa.Verify(public, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
				b.Fatal("does not verify")
			}
		}
	})
}
