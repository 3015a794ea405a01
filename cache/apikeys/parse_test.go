package apikeys

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sumOf is a key's digest as the file has it.
func sumOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

func TestParse(t *testing.T) {
	set, err := Parse("keys.yaml", []byte("\ufeff"+`# the keys of acme
- id: reports-2026
  sha256: `+sumOf("one")+`
  client: reports
  scopes: [reports:read, "a b"]   # no
`))
	if err == nil {
		t.Errorf("a scope with a blank: %+v", set)
	}
	set, err = Parse("keys.yaml", []byte("\ufeff"+`# the keys of acme
- id: reports-2026
  sha256: `+sumOf("one")+`
  client: reports
  scopes: [reports:read, reports:list]
  tenant: acme
  created: 2026-11-25T12:00:00Z
  expires: 2027-05-25T14:00:00.75+02:00
  owner: team-reports@acme.example
- {id: "42", sha256: "`+sumOf("two")+`", scopes: [], created: "1970-01-01T00:00:00Z"}
-
  sha256: `+sumOf("three")+`
  scopes:
  - x
  id: 2026-01-01
`))
	if err != nil {
		t.Fatal(err)
	}
	date := func(y int, m time.Month, d, h int) time.Time { return time.Date(y, m, d, h, 0, 0, 0, time.UTC) }
	want := []Entry{
		{ID: "reports-2026", Sum: sha256.Sum256([]byte("one")), Client: "reports", Scope: "reports:read reports:list", Tenant: "acme",
			Owner: "team-reports@acme.example", Created: date(2026, 11, 25, 12), Expires: date(2027, 5, 25, 12)},
		{ID: "42", Sum: sha256.Sum256([]byte("two")), Created: date(1970, 1, 1, 0)},
		{ID: "2026-01-01", Sum: sha256.Sum256([]byte("three")), Scope: "x"},
	}
	if diff := cmp.Diff(want, set.Entries()); diff != "" {
		t.Error(diff)
	}
	for i, e := range want {
		if got := set.bySum[e.Sum]; got == nil || got.ID != want[i].ID {
			t.Errorf("%s is found as %+v", e.ID, got)
		}
	}

	if set, err := Parse("keys.yaml", []byte("[]\n")); err != nil || len(set.Entries()) != 0 {
		t.Errorf("no keys: %v", err)
	}
	// To YAML these digests are a float, an integer, and one with a sign of it.
	for _, digits := range []string{"1" + strings.Repeat("2", 40) + "e" + strings.Repeat("0", 20) + "17", strings.Repeat("1", 64), "0" + strings.Repeat("7", 63)} {
		if set, err := Parse("keys.yaml", []byte("- {id: a, sha256: "+digits+"}")); err != nil || hex.EncodeToString(set.Entries()[0].Sum[:]) != digits {
			t.Errorf("%s: %v", digits, err)
		}
	}
}

// TestParseProblems: all at once, from top to bottom, each with its place.
func TestParseProblems(t *testing.T) {
	good := sumOf("good")
	for name, tc := range map[string]struct {
		doc  string
		want []string
	}{
		"everything at once": {`- id: one
  sha256: ` + good + `
  colour: red
- id: one
  sha256: ` + good + `
  created: 2026-11-25
  expires: never
- client: 42
  scopes: read
  scopes: [x]
  tenant:
- owner: ""
  id: two
  sha256: 00
  created: 2026-11-25T12:00:00Z
  expires: 2026-11-25T12:00:00Z
`, []string{
			`k:3:3: unknown key "colour": an entry has id, sha256, client, scopes, tenant, created, expires, owner`,
			`k:4:7: duplicate id "one": it is already in line 1`,
			`k:5:11: duplicate sha256: this key is already in line 2`,
			`k:6:12: created must be a time such as 2026-11-25T12:00:00Z`,
			`k:7:12: expires must be a time such as 2026-11-25T12:00:00Z`,
			`k:8:3: id is missing`,
			`k:8:3: sha256 is missing`,
			`k:8:11: client must be a text: put it in quotes`,
			`k:9:11: scopes must be a list, such as [read, write]`,
			`k:10:3: duplicate key scopes: it is already set in line 9`,
			`k:11:10: tenant has no value: give it one or leave it out`,
			`k:12:10: owner is empty: give it a value or leave it out`,
			`k:14:11: sha256 must be the SHA-256 of the key, as 64 lower-case hex digits: holdfast token hash makes it`,
			`k:16:12: expires is not after created`,
		}},
		"empty":            {"", []string{"k: is empty: a file without keys is []"}},
		"blank":            {" \n# nothing\n", []string{"k: is empty: a file without keys is []"}},
		"not UTF-8":        {"- \xff", []string{"k: is not UTF-8"}},
		"a mapping":        {"keys: []", []string{"k:1:1: must be a list of keys: - id: …"}},
		"a text":           {"reports", []string{"k:1:1: must be a list of keys: - id: …"}},
		"an entry of text": {"- reports", []string{"k:1:3: an entry must be a mapping (id: …), without anchors or aliases"}},
		"two documents":    {"[]\n---\n[]\n", []string{"k:2:1: a second document begins here: all keys are in one list"}},
		"alias": {"- &a {id: a, sha256: " + good + "}\n- *a\n", []string{
			"k:2:3: an entry must be a mapping (id: …), without anchors or aliases"}},
		"merge key": {"- {id: a, sha256: " + good + ", <<: {tenant: t}}\n", []string{
			`k:1:85: unknown key "<<": an entry has id, sha256, client, scopes, tenant, created, expires, owner`}},
		"scope in quotes":     {`- {id: a, sha256: ` + good + `, scopes: ['a"b', 7, [x]]}`, []string{`k:1:94: the scope "a\"b" has a character that no scope may have`, `k:1:101: a scope must be a text: put it in quotes`, `k:1:104: a scope must be a text`}},
		"control character":   {`- {id: "a\nb", sha256: ` + good + `}`, []string{`k:1:8: id has a control character in it`}},
		"long id":             {`- {id: "` + strings.Repeat("a", 4097) + `", sha256: ` + good + `}`, []string{`k:1:8: id has more than 4096 bytes`}},
		"hash of nothing":     {`- {id: a, sha256: ` + sumOf("") + `}`, []string{`k:1:19: sha256 is that of an empty key`}},
		"hash of zeros":       {`- {id: a, sha256: ` + strings.Repeat("0", 64) + `}`, []string{`k:1:19: sha256 is all zero: no key is known that has it`}},
		"before 1970":         {`- {id: a, sha256: ` + good + `, created: 1969-12-31T23:59:59Z}`, []string{`k:1:94: created must be a time such as 2026-11-25T12:00:00Z`}},
		"30 February":         {`- {id: a, sha256: ` + good + `, created: 2026-02-30T00:00:00Z}`, []string{`k:1:94: created must be a time such as 2026-11-25T12:00:00Z`}},
		"time without a zone": {`- {id: a, sha256: ` + good + `, created: 2026-02-03T00:00:00}`, []string{`k:1:94: created must be a time such as 2026-11-25T12:00:00Z`}},
	} {
		t.Run(name, func(t *testing.T) {
			set, err := Parse("k", []byte(tc.doc))
			var fe *FileError
			if !errors.As(err, &fe) || set != nil {
				t.Fatalf("%+v, %v", set, err)
			}
			if diff := cmp.Diff(tc.want, fe.Lines()); diff != "" {
				t.Error(diff)
			}
			first := tc.want[0]
			if n := len(tc.want) - 1; n > 0 {
				first += fmt.Sprintf(" (and %d more problems)", n)
			}
			if err.Error() != first {
				t.Errorf("error %q", err)
			}
		})
	}
}

// TestParseHidesTheKey: people put the key itself where its digest belongs.
func TestParseHidesTheKey(t *testing.T) {
	for _, value := range []string{"hf_secret_key", "[hf_secret_key]", "{hf_secret_key: x}", strings.ToUpper(sumOf("x")), "hf_secret_key_" + strings.Repeat("x", 50), sumOf("x") + "0", sumOf("x")[:63] + "g"} {
		_, err := Parse("k", []byte("- id: a\n  sha256: "+value+"\n"))
		var fe *FileError
		if !errors.As(err, &fe) || !strings.Contains(err.Error(), "64 lower-case hex digits") || strings.Contains(strings.Join(fe.Lines(), ""), "secret") {
			t.Errorf("%s: %v", value, err)
		}
	}
}

func TestParseIsBounded(t *testing.T) {
	_, err := Parse("k", []byte(strings.Repeat("- x\n", 10_000)))
	var fe *FileError
	if !errors.As(err, &fe) || len(fe.Problems) != maxProblems {
		t.Errorf("%v", err)
	}
	// "Billion laughs" is not followed.
	bomb := "- &a [x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'z'; c++ {
		bomb += fmt.Sprintf("- &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n", c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	if _, err := Parse("k", []byte(bomb)); err == nil {
		t.Error("taken")
	}
	if _, err := Parse("k", []byte(strings.Repeat("[", 100_000))); err == nil {
		t.Error("taken")
	}
}

// FuzzParse: whatever is taken has what an entry must have, once each.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"[]", "- {id: a, sha256: " + sumOf("a") + "}", "- id: a\n  sha256: " + sumOf("a") + "\n  scopes: [x, y]\n  created: 2026-11-25T12:00:00Z\n",
		"- {id: a, sha256: " + sumOf("a") + "}\n- {id: b, sha256: " + sumOf("b") + ", expires: 2027-11-25T12:00:00Z}\n", "- &a {<<: *a}", "- ? {}\n", "--- |\n x",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		set, err := Parse("k", doc)
		if err != nil {
			var fe *FileError
			if !errors.As(err, &fe) || len(fe.Problems) == 0 || set != nil {
				t.Fatalf("%v, %+v", err, set)
			}
			return
		}
		ids := map[string]bool{}
		for _, e := range set.Entries() {
			if e.ID == "" || ids[e.ID] || e.Sum == [32]byte{} || set.bySum[e.Sum].ID != e.ID || !e.Expires.IsZero() && !e.Expires.After(e.Created) {
				t.Fatalf("%+v", e)
			}
			ids[e.ID] = true
		}
		if len(set.bySum) != len(ids) {
			t.Fatalf("%d digests of %d keys", len(set.bySum), len(ids))
		}
	})
}
