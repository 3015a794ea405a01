package proof_test

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
	"github.com/holdfast-authz/holdfast/extauthz/proof"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// bare is a proof's signature with all that surrounds it done before.
type bare struct {
	key  *ecdsa.PublicKey
	sum  [32]byte
	r, s *big.Int
}

func bareOf(b *testing.B, client *extauthztest.Prover, raw string) *bare {
	at := strings.LastIndexByte(raw, '.')
	signature, err := base64.RawURLEncoding.DecodeString(raw[at+1:])
	if err != nil {
		b.Fatal(err)
	}
	return &bare{client.Public().(*ecdsa.PublicKey), sha256.Sum256([]byte(raw[:at])), new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])}
}

func (v *bare) verify(b *testing.B) {
	if !ecdsa.Verify(v.key, v.sum[:], v.r, v.s) {
		b.Fatal("does not verify")
	}
}

// BenchmarkDPoP compares a whole ES256 proof with the bare signature check. In
// "ratio" the two take turns, so that a busy machine slows both: the budget is
// 1.25 (design.md §9).
func BenchmarkDPoP(b *testing.B) {
	d := checker(b, proof.DPoPConfig{Origins: []string{"https://api.example"}})
	client := extauthztest.NewProver(b, "ES256")
	raw := client.Proof("GET", api, accessToken, now)
	one := bareOf(b, client, raw)
	var out proof.Proof
	check := func() {
		if r := ask(d, raw, client.JKT, &out); r != reason.OK {
			b.Fatal(r)
		}
	}
	b.Run("proof", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			check()
		}
	})
	b.Run("bare", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			one.verify(b)
		}
	})
	b.Run("ratio", func(b *testing.B) {
		var whole, part time.Duration
		for b.Loop() {
			t0 := time.Now()
			check()
			t1 := time.Now()
			one.verify(b)
			whole += t1.Sub(t0)
			part += time.Since(t1)
		}
		b.ReportMetric(float64(whole)/float64(part), "x-bare")
	})
	b.Run("refused-by-text", func(b *testing.B) {
		other := client.Proof("POST", api, accessToken, now)
		for b.Loop() {
			ask(d, other, client.JKT, &out)
		}
	})
}

// dpopAllocs is what one proof may cost; a third of the 60 that it does is
// crypto/ecdsa's, most of the others its JSON.
const dpopAllocs = 70

func TestDPoPAllocs(t *testing.T) {
	d := checker(t, proof.DPoPConfig{})
	client := extauthztest.NewProver(t, "ES256")
	raw := client.Proof("GET", api, accessToken, now)
	var out proof.Proof
	n := testing.AllocsPerRun(100, func() { ask(d, raw, client.JKT, &out) })
	t.Logf("%v allocations", n)
	if n > dpopAllocs {
		t.Errorf("%v allocations; the budget is %d", n, dpopAllocs)
	}
}
