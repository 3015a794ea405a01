package feed

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-authz/holdfast/cache"
)

var noticeKey = derive(testKey, noticeLabel)

func someCounts(n int) (counts []count) {
	for i := range n {
		at := time.Unix(1_800_000_000, int64(i)).UTC()
		counts = append(counts, count{
			replica: [senderSize]byte{byte(i)}, ref: cache.Ref{Number: uint64(i) + 1, Place: uint32(i)}, until: 4_000_000_000,
			Enforced: cache.Enforced{Count: uint64(i) + 1, First: at, Last: at.Add(time.Minute)},
		})
	}
	return counts
}

func TestNotice(t *testing.T) {
	for _, want := range []*notice{
		{},
		{sender: testSender, flags: flagReady | flagAsks, number: 7, applied: 1 << 63, host: "edge-1", release: "v1", counts: someCounts(3)},
		{host: strings.Repeat("h", maxName), release: strings.Repeat("v", maxName), counts: someCounts(maxCounts)},
	} {
		got, err := openNotice(noticeKey, sealNotice(noticeKey, want))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(notice{}, count{})); diff != "" {
			t.Error(diff)
		}
	}
}

func TestNoticeRefuses(t *testing.T) {
	good := sealNotice(noticeKey, &notice{sender: testSender, number: 1, host: "edge", release: "v1", counts: someCounts(2)})
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 1
		if _, err := openNotice(noticeKey, bad); err == nil {
			t.Errorf("byte %d altered: taken", i)
		}
		if _, err := openNotice(noticeKey, good[:i]); err == nil {
			t.Errorf("cut off at %d: taken", i)
		}
	}
	sealed := func(body []byte) []byte { return appendMAC(body, noticeKey, body) }
	body := good[:len(good)-macSize]
	head := slices.Clone(body[:noticeHead])
	for name, b := range map[string][]byte{
		"another key":      sealNotice(derive(testKey, spreadLabel), &notice{number: 1}),
		"too many counts":  sealNotice(noticeKey, &notice{counts: someCounts(maxCounts + 1)}),
		"half a count":     sealed(slices.Clone(body[:len(body)-1])),
		"a name too short": sealed(append(slices.Clone(head), 0, 9, 'x')),
		"no second name":   sealed(append(slices.Clone(head), 1, 'x')),
		"empty":            nil,
		"huge":             make([]byte, 1<<20),
	} {
		if _, err := openNotice(noticeKey, b); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzNotice(f *testing.F) {
	f.Add([]byte{})
	full := sealNotice(noticeKey, &notice{host: "edge", release: "v1", counts: someCounts(2)})
	f.Add(full[:len(full)-macSize])
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _ = openNotice(noticeKey, body)
		b := appendMAC(bytes.Clone(body), noticeKey, body)
		n, err := openNotice(noticeKey, b)
		if err != nil {
			return
		}
		if again := sealNotice(noticeKey, n); !bytes.Equal(again, b) {
			t.Errorf("sealed again it is %x, not %x", again, b)
		}
	})
}

// TestTally: counts add up over replicas, in whatever order and however often
// they are told, and end with their revocation.
func TestTally(t *testing.T) {
	at := time.Unix(1_800_000_000, 0).UTC()
	ref := cache.Ref{Number: 5}
	hit := cache.Hit{Ref: ref, Until: at.Add(time.Hour).Unix()}
	own := cache.NewEvidence()
	mine := newTally([senderSize]byte{1}, own)
	deny := func(at time.Time) {
		own.Add(hit, at)
		mine.denied(hit)
	}
	deny(at)
	deny(at.Add(time.Second))
	of := func(replica byte, n uint64, first, last time.Time) count {
		return count{[senderSize]byte{replica}, ref, hit.Until, cache.Enforced{Count: n, First: first, Last: last}}
	}
	early, late := of(2, 3, at.Add(-time.Second), at), of(2, 7, at.Add(-time.Second), at.Add(time.Minute))
	mine.merge([]count{late, early, late, of(3, 1, at, at), of(1, 99, at, at), of(4, 0, at, at)})
	if diff := cmp.Diff(cache.Enforced{Count: 2 + 7 + 1, First: at.Add(-time.Second), Last: at.Add(time.Minute)}, mine.sum(ref)); diff != "" {
		t.Error(diff)
	}
	nobody := func([senderSize]byte) bool { return false }
	if got := mine.untold(false, nobody); len(got) != 1 || got[0].Count != 2 {
		t.Errorf("news %+v", got)
	}
	if got := mine.untold(false, nobody); len(got) != 0 {
		t.Errorf("told twice: %+v", got)
	}
	// To one who asks everything is told, but not what others are there to tell.
	third := func(replica [senderSize]byte) bool { return replica[0] == 3 }
	got := mine.untold(true, third)
	if len(got) != 2 || got[0].Count != 2 || got[1].Count != 7 {
		t.Errorf("all of it: %+v", got)
	}
	mine.again(got)
	if again := mine.untold(false, nobody); len(again) != 1 {
		t.Errorf("what could not be told: %+v", again)
	}
	mine.expire(hit.Until)
	if mine.sum(ref).Count != 10 {
		t.Error("forgotten too early")
	}
	mine.expire(hit.Until + 1)
	if mine.kept+len(mine.others)+len(mine.hit)+len(mine.news) != 0 {
		t.Errorf("kept after the end: %+v", mine)
	}
	for i := range maxTally + 10 {
		c := of(2, 1, at, at)
		c.ref.Number = uint64(i) + 1
		mine.merge([]count{c})
		mine.denied(cache.Hit{Ref: c.ref, Until: hit.Until})
	}
	if mine.kept != maxTally || len(mine.others) != maxTally || len(mine.hit) != maxTally || mine.lost != 20 {
		t.Errorf("%d and %d kept, %d lost", mine.kept, len(mine.hit), mine.lost)
	}
}
