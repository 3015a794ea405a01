package proof_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
	"github.com/holdfast-authz/holdfast/extauthz/proof"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

const nonceStep = 30 * time.Second

func nonceKey(b byte, start time.Time) (k proof.NonceKey) {
	for i := range k.Key {
		k.Key[i] = b
	}
	k.Start = start
	return k
}

func noncesOf(current, previous proof.NonceKey) *proof.Nonces {
	n := &proof.Nonces{}
	n.SetKeys(current, previous)
	return n
}

func TestNonceLife(t *testing.T) {
	n := noncesOf(nonceKey(1, now.Add(-time.Hour)), proof.NonceKey{})
	nonce := n.Issue(now)
	if len(nonce) != 32 || nonce != n.Issue(now.Add(nonceStep-1)) || nonce == n.Issue(now.Add(nonceStep)) {
		t.Fatalf("%q; one nonce a step", nonce)
	}
	for after, want := range map[time.Duration]bool{
		0: true, proof.NonceLifetime: true, proof.NonceLifetime + nonceStep - 1: true, proof.NonceLifetime + nonceStep: false,
		-nonceStep: true, -nonceStep - 1: false, 1000 * time.Hour: false, -1000 * time.Hour: false,
	} {
		if got := n.Accept(nonce, now.Add(after)); got != want {
			t.Errorf("%v later: %v", after, got)
		}
	}
}

// TestNonceRefuses: whatever is not exactly one of ours.
func TestNonceRefuses(t *testing.T) {
	n := noncesOf(nonceKey(1, now.Add(-time.Hour)), proof.NonceKey{})
	nonce := n.Issue(now)
	zero := proof.NonceKey{Start: now.Add(-time.Hour)}
	for name, bad := range map[string]string{
		"empty": "", "short": nonce[:31], "long": nonce + "A", "padded": nonce + "=", "a line end inside": nonce[:16] + "\n" + nonce[17:],
		"the wrong alphabet":         strings.Repeat("+", 32),
		"of other replicas":          noncesOf(nonceKey(2, now), proof.NonceKey{}).Issue(now),
		"of the step before, redone": n.Issue(now.Add(-nonceStep))[:11] + nonce[11:],
		"the lowest step":            "gAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"the highest step":           "f" + strings.Repeat("_", 31),
		"zeros":                      strings.Repeat("A", 32),
	} {
		if n.Accept(bad, now) {
			t.Errorf("%s: accepted", name)
		}
	}
	flips := 0
	for i := range nonce {
		for _, c := range "ABab09-_" {
			if text := nonce[:i] + string(c) + nonce[i+1:]; text != nonce {
				flips++
				if n.Accept(text, now) {
					t.Fatalf("accepted with another character at %d", i)
				}
			}
		}
	}
	// Without a key before, one of zeros is no key.
	number := binary.BigEndian.AppendUint64(nil, uint64(now.Unix()/30))
	mac := hmac.New(sha256.New, make([]byte, 32))
	mac.Write(append([]byte("holdfast dpop nonce\x00"), number...))
	forged := base64.RawURLEncoding.EncodeToString(mac.Sum(number)[:24])
	if first := noncesOf(nonceKey(1, now), proof.NonceKey{}); forged[:10] != nonce[:10] || first.Accept(forged, now) {
		t.Errorf("%q: made with a key of zeros, and accepted", forged)
	}
	var none *proof.Nonces
	for name, keyless := range map[string]*proof.Nonces{"nil": none, "zero": {}, "keys of zeros": noncesOf(zero, zero)} {
		if keyless.Ready() || keyless.Issue(now) != "" || keyless.Accept(nonce, now) || keyless.Accept("", now) {
			t.Errorf("%s: works without a key", name)
		}
	}
}

// TestNonceRotation: replicas that learn of a key at different times, with
// clocks that differ, take each other's nonces throughout.
func TestNonceRotation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		change := now.Add(time.Duration(rapid.IntRange(-300, 300).Draw(t, "change")) * time.Second)
		old, next := nonceKey(1, change.Add(-time.Hour)), nonceKey(2, change)
		early := noncesOf(next, old)
		late := early
		if now.Before(change) && rapid.Bool().Draw(t, "not told yet") {
			late = noncesOf(old, proof.NonceKey{})
		}
		givers := map[string]*proof.Nonces{"early": early, "late": late}
		giver := rapid.SampledFrom([]string{"early", "late"}).Draw(t, "giver")
		age := time.Duration(rapid.Int64Range(0, int64(proof.NonceLifetime)).Draw(t, "age"))
		given := now
		nonce := givers[giver].Issue(given)
		for name, taker := range givers {
			// A replica that was not told by the start of a key is not one of ours.
			if late != early && name == "late" && !given.Before(change) {
				continue
			}
			if !taker.Accept(nonce, given.Add(age)) {
				t.Fatalf("given by %s at %v, refused by %s %v later; change at %v", giver, given, name, age, change)
			}
		}
	})
	// The key before is accepted for one lifetime and then no more.
	old, next := nonceKey(1, now.Add(-time.Hour)), nonceKey(2, now)
	n, leaked := noncesOf(next, old), noncesOf(old, proof.NonceKey{})
	end := now.Add(proof.NonceLifetime + nonceStep)
	if !n.Accept(leaked.Issue(end), end) {
		t.Error("refused before its end")
	}
	if end = end.Add(1); n.Accept(leaked.Issue(end), end) {
		t.Error("a retired key still makes nonces")
	}
}

func TestNonceRace(t *testing.T) {
	n := &proof.Nonces{}
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			for i := range 500 {
				at := now.Add(time.Duration(i) * nonceStep)
				if w == 0 {
					n.SetKeys(nonceKey(byte(i+2), at), nonceKey(byte(i+1), at.Add(-nonceStep)))
				}
				if nonce := n.Issue(at); nonce != "" {
					n.Accept(nonce, at)
				}
			}
		})
	}
	all.Wait()
}

func TestNonceAllocs(t *testing.T) {
	n := noncesOf(nonceKey(1, now.Add(-time.Hour)), proof.NonceKey{})
	n.Issue(now)
	if allocs := testing.AllocsPerRun(100, func() { n.Issue(now) }); allocs != 0 {
		t.Errorf("Issue: %v allocations", allocs)
	}
}

// TestDPoPNonce: DP12, and what a nonce changes about the time.
func TestDPoPNonce(t *testing.T) {
	d := checker(t, proof.DPoPConfig{NonceRequired: true})
	client, other := extauthztest.NewProver(t, "ES256"), extauthztest.NewProver(t, "ES256")
	n := noncesOf(nonceKey(1, now.Add(-time.Hour)), proof.NonceKey{})
	foreign := noncesOf(nonceKey(9, now.Add(-time.Hour)), proof.NonceKey{})
	with := func(nonce any, more claims) string {
		return client.Proof("GET", api, accessToken, now, claims{"nonce": nonce}, more)
	}
	for name, tc := range map[string]struct {
		raw    string
		nonces *proof.Nonces
		want   reason.Reason
	}{
		"fresh":                      {with(n.Issue(now), nil), n, reason.OK},
		"as old as may be":           {with(n.Issue(now.Add(-proof.NonceLifetime)), nil), n, reason.OK},
		"left out":                   {with(absent, nil), n, reason.DPoPNonceRequired},
		"empty":                      {with("", nil), n, reason.DPoPNonceRequired},
		"expired":                    {with(n.Issue(now.Add(-proof.NonceLifetime-nonceStep)), nil), n, reason.DPoPNonceRequired},
		"of other replicas":          {with(foreign.Issue(now), nil), n, reason.DPoPNonceRequired},
		"no string":                  {with(1, nil), n, reason.DPoPInvalid},
		"a clock an hour behind":     {with(n.Issue(now), claims{"iat": now.Unix() - 3600}), n, reason.OK},
		"a clock an hour ahead":      {with(n.Issue(now), claims{"iat": now.Unix() + 3600}), n, reason.OK},
		"no iat":                     {with(n.Issue(now), claims{"iat": absent}), n, reason.DPoPInvalid},
		"forged":                     {extauthztest.Forge(with(n.Issue(now), nil)), n, reason.DPoPInvalid},
		"no nonce, another key":      {other.Proof("GET", api, accessToken, now), n, reason.DPoPNonceRequired},
		"fresh, another key":         {other.Proof("GET", api, accessToken, now, claims{"nonce": n.Issue(now)}), n, reason.BindingMismatch},
		"fresh, for another request": {with(n.Issue(now), claims{"htm": "POST"}), n, reason.DPoPMismatch},
		"we have no keys":            {with(n.Issue(now), nil), &proof.Nonces{}, reason.NotReady},
		"we have no nonces":          {with(n.Issue(now), nil), nil, reason.NotReady},
	} {
		var out proof.Proof
		if r := d.Check(tc.raw, "GET", "https", "api.example", "/v1/items", accessToken, client.JKT, now, tc.nonces, &out); r != tc.want {
			t.Errorf("%s: %v, want %v", name, r, tc.want)
		}
	}
}

// TestDPoPExpires: a replay entry outlives each moment at which its proof would
// be taken, at a replica whose clock is FutureSkew behind too.
func TestDPoPExpires(t *testing.T) {
	client := extauthztest.NewProver(t, "EdDSA")
	n := noncesOf(nonceKey(1, now.Add(-time.Hour)), proof.NonceKey{})
	nonce := n.Issue(now)
	rapid.Check(t, func(t *rapid.T) {
		seconds := rapid.IntRange(0, 100)
		maxAge, skew := time.Duration(1+seconds.Draw(t, "age"))*time.Second, time.Duration(seconds.Draw(t, "skew"))*time.Second
		d, err := proof.NewDPoP(proof.DPoPConfig{MaxAge: maxAge, FutureSkew: skew, NonceRequired: rapid.Bool().Draw(t, "nonce")})
		if err != nil {
			t.Fatal(err)
		}
		at := func(name string) time.Time {
			return now.Add(time.Duration(rapid.Int64Range(-int64(200*time.Second), int64(300*time.Second)).Draw(t, name)))
		}
		raw := client.Proof("GET", api, accessToken, at("made"), claims{"nonce": nonce})
		check := func(when time.Time, out *proof.Proof) bool {
			return d.Check(raw, "GET", "https", "api.example", "/v1/items", accessToken, client.JKT, when, n, out) == reason.OK
		}
		var out, again proof.Proof
		first := at("first")
		if !check(first, &out) {
			return
		}
		if !first.Before(out.Expires) {
			t.Fatalf("taken at %v, forgotten at %v", first, out.Expires)
		}
		forgotten := out.Expires.Add(-skew)
		later := forgotten.Add(time.Duration(rapid.Int64Range(0, int64(skew+10*time.Second)).Draw(t, "later")))
		for _, second := range []time.Time{forgotten, later} {
			if check(second, &again) {
				t.Fatalf("forgotten at %v, taken at %v by a clock that is %v behind", out.Expires, second, skew)
			}
		}
	})
}
