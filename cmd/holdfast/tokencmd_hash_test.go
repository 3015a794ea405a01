package main

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/apikeys"
	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

// TestHashEntry: the file's own reader finds the key by the entry, with all
// that was said of it, whatever YAML would take the words for.
func TestHashEntry(t *testing.T) {
	const key = "0123456789-0123456789-0123456789"
	now := time.Date(2026, 11, 25, 12, 0, 0, 999, time.FixedZone("", 3600))
	var file []byte
	for _, f := range []hashFlags{
		{entry: keyEntry{ID: "reports"}},
		{entry: keyEntry{ID: "0x1f", Client: "true", Scopes: []string{"1e3 null", "read"}, Tenant: "2026-01-01", Owner: "- a: #b"}, expiresIn: time.Hour},
		{entry: keyEntry{ID: "~", Client: "é 日本", Owner: "'\""}, expires: "2027-01-01T01:00:00+01:00"},
	} {
		text, err := f.write(key+f.entry.ID, now)
		if err != nil {
			t.Fatal(err)
		}
		file = append(file, text...) // as >> does
	}
	set, err := apikeys.Parse("keys.yaml", file)
	if err != nil {
		t.Fatalf("%v\n%s", err, file)
	}
	created := time.Date(2026, 11, 25, 11, 0, 0, 0, time.UTC)
	want := []apikeys.Entry{
		{ID: "reports", Created: created},
		{ID: "0x1f", Client: "true", Scope: "1e3 null read", Tenant: "2026-01-01", Owner: "- a: #b", Created: created, Expires: created.Add(time.Hour)},
		{ID: "~", Client: "é 日本", Owner: "'\"", Created: created, Expires: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)},
	}
	for i := range want {
		want[i].Sum = sha256.Sum256([]byte(key + want[i].ID))
	}
	if diff := cmp.Diff(want, set.Entries()); diff != "" {
		t.Errorf("entries (-want +got):\n%s\n%s", diff, file)
	}
	if strings.Contains(string(file), key) {
		t.Error("the file holds the key")
	}
}

// TestHashNew: a new key is another one each time, and the entry is its own.
func TestHashNew(t *testing.T) {
	seen := map[string]bool{}
	for range 3 {
		code, entry, key := holdfastWith(t, "", "token", "hash", "--new")
		set, err := apikeys.Parse("keys.yaml", []byte(entry))
		if code != 0 || err != nil {
			t.Fatalf("exit %d, %v", code, err)
		}
		key = strings.TrimSuffix(key, "\n")
		if set.Entries()[0].Sum != sha256.Sum256([]byte(key)) || len(key) != 43 || seen[key] {
			t.Errorf("%q of\n%s", key, entry)
		}
		seen[key] = true
	}
}

// TestHashRefuses: what would be another entry in the file, or none, is a
// mistake of the flag that set it.
func TestHashRefuses(t *testing.T) {
	for want, entry := range map[string]keyEntry{
		`--client "a\nb" has a character that can not be seen`:    {Client: "a\nb"},
		`--owner "a\u202eb" has a character`:                      {Owner: "a\u202eb"},
		"id has more than":                                        {ID: strings.Repeat("x", cache.MaxValueBytes+1)},
		`the scope "a\"b" has a character that no scope may have`: {Scopes: []string{`a"b`}},
		"tenant must be a text":                                   {Tenant: "a\xffb"},
	} {
		f := hashFlags{entry: entry}
		if text, err := f.write("key", time.Now()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q:\n%s", err, want, text)
		}
	}
}

// TestHashServed: the key works at a server that watches the file, and no
// other does.
func TestHashServed(t *testing.T) {
	dir := t.TempDir()
	_, entry, key := holdfastWith(t, "", "token", "hash", "--new", "--id", "reports", "--client", "reports", "--expires-in", "1h")
	keys := filepath.Join(dir, "keys.yaml")
	if err := os.WriteFile(keys, []byte(entry), 0o600); err != nil {
		t.Fatal(err)
	}
	c := startReady(t, writeConfig(t, extauthztest.NewIssuer(t, idp), basicConfig+
		"credentials: [{header: x-api-key, kind: api_key}]\napi_keys: {file: "+keys+"}\n"))
	for value, want := range map[string]string{strings.TrimSpace(key): "ok", "another-key": "key_unknown"} {
		if a := c.askFor(extauthztest.Request{Headers: [][2]string{{"x-api-key", value}}}); a.Reason() != want {
			t.Errorf("%v, want %s", a, want)
		}
	}
}
