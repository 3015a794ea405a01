package feed

import (
	"path/filepath"
	"testing"
)

func openEmbedded(t testing.TB, dir string) *Embedded {
	t.Helper()
	e, err := OpenEmbedded(EmbeddedConfig{Directory: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return e
}

func openHead(t testing.TB, dir string) *Head {
	t.Helper()
	h, err := OpenHead(filepath.Join(dir, "head"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func TestEmbeddedRestart(t *testing.T) {
	dir := t.TempDir()
	e := openEmbedded(t, dir)
	h := openHead(t, dir)
	r := start(t, Config{Log: e, Head: h}).synced(t)
	n := r.revoke(t, "s1")
	t.Logf("%+v", r.Status())
	r.stop()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = openEmbedded(t, dir)
	again := start(t, Config{Log: e, Head: h}).synced(t)
	if !again.has("s1") || again.sids["s1"] != n {
		t.Fatalf("revocation %d is gone: %v", n, again.sids)
	}
}
