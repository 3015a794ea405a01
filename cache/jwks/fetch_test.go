package jwks

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestBadAnswer: whatever the key server answers instead of a key set, the
// refresh fails and the last good set stays in force. JK06, JK07, JK09-JK11,
// F34, F35.
func TestBadAnswer(t *testing.T) {
	elsewhere := &switchable{}
	elsewhere.doc(setOf(t, "attacker"))
	other := httptest.NewServer(elsewhere)
	t.Cleanup(other.Close)
	redirect := func(status int, to string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", to)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(setOf(t, "attacker")))
		}
	}
	status := func(code int, doc string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			_, _ = w.Write([]byte(doc))
		}
	}
	typed := func(kind, doc string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write([]byte(doc))
		}
	}
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	good := setOf(t, "other")

	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		want   string // in the error
	}{
		{"redirect to another host", redirect(302, other.URL), "redirects are not followed"},
		{"redirect to metadata", redirect(307, "http://169.254.169.254/latest/meta-data"), "redirects are not followed"},
		{"permanent redirect", redirect(308, other.URL), "redirects are not followed"},
		{"redirect to a file", redirect(301, "file:///etc/passwd"), "redirects are not followed"},
		{"status 500", status(500, good), "status 500"},
		{"status 404", status(404, good), "status 404"},
		{"status 201", status(201, good), "status 201"},
		{"no content", status(204, ""), "status 204"},
		{"304 that was not asked for", status(304, ""), "status 304"},
		{"page", typed("text/html; charset=utf-8", good), "is a page"},
		{"page called JSON", serve("<!doctype html><title>down</title>"), "read key set"},
		{"empty body", serve(""), "read key set"},
		{"empty object", serve(`{}`), "read key set"},
		{"empty set", serve(`{"keys":[]}`), "read key set"},
		{"null keys", serve(`{"keys":null}`), "read key set"},
		{"error object", serve(`{"error":"server_error"}`), "read key set"},
		{"array", serve(`[` + jwkOf(t, "a") + `]`), "read key set"},
		{"half a document", serve(good[:len(good)/2]), "read key set"},
		{"two documents", serve(good + good), "read key set"},
		{"two members keys", serve(`{"keys":[],` + good[1:]), "read key set"},
		{"two keys of one kid", serve(setOf(t, "a", "a")), "twice"},
		{"only a symmetric key", serve(`{"keys":[{"kty":"oct","kid":"a","k":"c2VjcmV0"}]}`), "read key set"},
		{"only an encryption key", serve(strings.Replace(good, `"sig"`, `"enc"`, 1)), "read key set"},
		{"only a private key", serve(strings.Replace(good, `"use"`, `"d":"AA","use"`, 1)), "read key set"},
		{"50000 keys", serve(`{"keys":[` + strings.Repeat(`{},`, 49999) + `{}]}`), "read key set"},
		{"2 MiB", serve(good + strings.Repeat(" ", 2<<20)), "more than 1048576 bytes"},
		{"coding not asked for", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			_, _ = w.Write([]byte(good))
		}, "content encoding"},
		{"broken gzip", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write([]byte(good))
		}, "gzip"},
		{"body shorter than said", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "4000")
			_, _ = w.Write([]byte(good))
		}, "unexpected EOF"},
		{"header of 100 KiB", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", 100<<10))
			_, _ = w.Write([]byte(good))
		}, "header"},
		{"connection cut", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		{"no answer", hang, "deadline exceeded"},
		{"no end of the body", func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(good))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, "deadline exceeded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			timeout := 10 * time.Second
			if c.want == "deadline exceeded" {
				timeout = time.Second
			}
			s := newSite(t, setOf(t, "good"), timeout)
			refresh(t, s.store)
			before, _ := s.store.KeySet(iss)

			s.set(c.answer)
			err := s.store.Refresh(t.Context(), iss)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), iss) {
				t.Fatalf("Refresh = %v, want an error about %s with %q", err, iss, c.want)
			}
			if after, ok := s.store.KeySet(iss); !ok || after != before {
				t.Error("the last good set is not in force any more")
			}
			if st := s.store.Status()[0]; !st.Failing || st.Failed != 1 || st.OK != 1 || !st.Usable || st.LastError == "" {
				t.Errorf("status %+v", st)
			}
			_ = s.store.Refresh(t.Context(), iss)
			if n := s.log.count("not refreshed"); n != 1 {
				t.Errorf("two failures of a kind were logged %d times:\n%s", n, s.log)
			}

			s.doc(setOf(t, "next"))
			refresh(t, s.store)
			wantKids(t, s.store, iss, "next")
			if s.log.count("refreshed again") != 1 {
				t.Errorf("recovery was not logged:\n%s", s.log)
			}
		})
	}
	t.Cleanup(func() {
		if n := elsewhere.count.Load(); n > 0 {
			t.Errorf("a redirect was followed %d times", n)
		}
	})
}

// TestBodyIsNotRead: of an endless body no more is read than the cap, and
// neither is of one that is small on the wire and large in memory. JK09.
func TestBodyIsNotRead(t *testing.T) {
	const window = 8 << 20 // what the kernel's buffers may take on top
	for _, c := range []struct {
		name string
		to   func(w http.ResponseWriter) io.Writer
	}{
		{"100 MB", func(w http.ResponseWriter) io.Writer { return w }},
		{"gzip bomb", func(w http.ResponseWriter) io.Writer {
			w.Header().Set("Content-Encoding", "gzip")
			return gzip.NewWriter(w)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, setOf(t, "good"), time.Minute)
			refresh(t, s.store)
			var sent atomic.Int64
			ended := make(chan struct{})
			s.set(func(w http.ResponseWriter, _ *http.Request) {
				defer close(ended)
				out := c.to(w)
				block := []byte(strings.Repeat(" ", 64<<10))
				for sent.Load() < 100<<20 {
					n, err := out.Write(block)
					sent.Add(int64(n))
					if err != nil {
						return
					}
				}
			})
			err := s.store.Refresh(t.Context(), iss)
			if err == nil || !strings.Contains(err.Error(), "more than") {
				t.Fatalf("Refresh = %v", err)
			}
			<-ended
			if n := sent.Load(); c.name == "100 MB" && n > maxBody+window {
				t.Errorf("%d bytes were taken", n)
			}
			wantKids(t, s.store, iss, "good")
		})
	}
}

func TestGzip(t *testing.T) {
	s := newSite(t, "", 0)
	doc := setOf(t, "zipped")
	s.set(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			t.Error("gzip is not accepted")
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		defer z.Close()
		_, _ = z.Write([]byte(doc))
	})
	refresh(t, s.store)
	wantKids(t, s.store, iss, "zipped")
}

// TestContentTypes: JSON comes under many names.
func TestContentTypes(t *testing.T) {
	for _, kind := range []string{"application/json", "application/jwk-set+json", "application/json;charset=UTF-8", "text/plain", "application/octet-stream", "", "nonsense;;"} {
		s := newSite(t, "", 0)
		doc := "\r\n" + setOf(t, "k") + "\n"
		s.set(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{kind}
			_, _ = w.Write([]byte(doc))
		})
		if err := s.store.Refresh(t.Context(), iss); err != nil {
			t.Errorf("content type %q: %v", kind, err)
		}
	}
}

// TestETag: a refresh on time asks only for news, one on demand asks in full,
// and 304 keeps the set and counts as a success.
func TestETag(t *testing.T) {
	s := newSite(t, "", 0)
	tag := `"v1"`
	doc := setOf(t, "first")
	var asked []string
	s.set(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("If-None-Match")+"|"+r.Header.Get("Cache-Control"))
		w.Header().Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write([]byte(doc))
	})
	src := s.store.order[0]
	onTime := func() {
		t.Helper()
		if err := src.refresh(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	onTime()
	first, _ := s.store.KeySet(iss)
	stamp := s.store.Status()[0].LastSuccess
	onTime() // 304
	if set, _ := s.store.KeySet(iss); set != first {
		t.Error("304 changed the set")
	}
	if st := s.store.Status()[0]; !st.LastSuccess.After(stamp) || st.OK != 2 {
		t.Errorf("304 is no success: %+v", st)
	}
	refresh(t, s.store) // in full: the same keys stay the same pointer
	if set, _ := s.store.KeySet(iss); set != first {
		t.Error("the same keys are another set")
	}
	tag, doc = `"v2"`, setOf(t, "second")
	onTime()
	wantKids(t, s.store, iss, "second")
	tag, doc = "bad\ttag", setOf(t, "third")
	onTime()
	onTime()
	want := []string{"|", `"v1"|`, "|no-cache", `"v1"|`, `"v2"|`, "|"}
	if fmt.Sprint(asked) != fmt.Sprint(want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
}

// TestETagOfABadAnswer: the tag that goes out is that of the set in force.
func TestETagOfABadAnswer(t *testing.T) {
	s := newSite(t, "", 0)
	doc, tag := setOf(t, "a"), `"good"`
	var asked string
	s.set(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Header.Get("If-None-Match")
		w.Header().Set("ETag", tag)
		_, _ = w.Write([]byte(doc))
	})
	src := s.store.order[0]
	refresh(t, s.store)
	doc, tag = `{"keys":[]}`, `"bad"`
	if err := src.refresh(t.Context(), false); err == nil {
		t.Fatal("an empty set was taken")
	}
	doc, tag = setOf(t, "b"), `"better"`
	if err := src.refresh(t.Context(), false); err != nil || asked != `"good"` {
		t.Errorf("err %v, asked for news since %s", err, asked)
	}
}

// TestUntrustedCertificate: a TLS server that the system's roots do not vouch
// for is not believed. JK14.
func TestUntrustedCertificate(t *testing.T) {
	doc := &switchable{}
	doc.doc(setOf(t, "mitm"))
	server := httptest.NewUnstartedServer(doc)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	s := open(t, Config{Sources: []Source{{Issuer: iss, URL: server.URL}}})
	err := s.Refresh(t.Context(), iss)
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("Refresh = %v", err)
	}
	if doc.count.Load() != 0 {
		t.Error("the request was sent")
	}
	wantKids(t, s, iss)
}

func TestCallerGone(t *testing.T) {
	s := newSite(t, "", 0)
	ctx, cancel := context.WithCancel(t.Context())
	s.set(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	if err := s.store.Refresh(ctx, iss); !errors.Is(err, context.Canceled) {
		t.Errorf("Refresh = %v", err)
	}
	if st := s.store.Status()[0]; st.Failed != 0 || st.Failing {
		t.Errorf("status %+v", st)
	}
}

func TestRefreshUnknownIssuer(t *testing.T) {
	s := open(t, Config{})
	if err := s.Refresh(t.Context(), iss); err == nil {
		t.Error("an issuer that is not configured was refreshed")
	}
	s.Wanted(iss)
	wantKids(t, s, iss)
}
