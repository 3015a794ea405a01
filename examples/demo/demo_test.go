package demo

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The story itself is played by envoy/e2e_test.go, which has a binary to play
// it with.

func TestAdminLine(t *testing.T) {
	for log, want := range map[string]string{
		"time=x level=INFO msg=listening listener=check address=127.0.0.1:9191\ntime=x level=INFO msg=listening listener=admin address=127.0.0.1:41234\n": "127.0.0.1:41234",
		`{"msg":"listening","listener":"admin","address":"127.0.0.1:41234"}`:                                                                              "127.0.0.1:41234",
		"listener=admin address=127.0.0.1:0":         "",
		"listener=administrator address=127.0.0.1:9": "",
		"": "",
	} {
		got := ""
		if m := adminLine.FindStringSubmatch(log); m != nil {
			got = m[1]
		}
		if got != want {
			t.Errorf("%q: %q, want %q", log, got, want)
		}
	}
}

// TestAccessLogIsFollowed: lines come one by one, also when half of one was
// written at first.
func TestAccessLogIsFollowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write := func(s string) {
		if _, err := f.WriteString(s); err != nil {
			t.Fatal(err)
		}
	}
	l := accessLog{path: path}
	write(`{"status":200,"reason":"ok"}` + "\n" + `{"status":503,"reason":null}` + "\n" + `{"status":40`)
	for _, want := range []accessLine{{Status: 200, Reason: "ok"}, {Status: 503}} {
		if got, err := l.next(t.Context()); err != nil || got != want {
			t.Fatalf("next = %+v, %v; want %+v", got, err, want)
		}
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if got, err := l.next(short); err == nil {
		t.Fatalf("half a line was read: %+v", got)
	}
	write("1}\n")
	if got, err := l.next(t.Context()); err != nil || got.Status != 401 {
		t.Fatalf("next = %+v, %v", got, err)
	}
	write("not JSON\n")
	if _, err := l.next(t.Context()); err == nil {
		t.Fatal("a line that is no JSON was read")
	}
}

func TestUntil(t *testing.T) {
	tries := 0
	if err := until(t.Context(), time.Minute, func(context.Context) error {
		if tries++; tries < 3 {
			return errors.New("not yet")
		}
		return nil
	}); err != nil || tries != 3 {
		t.Errorf("until = %v after %d tries", err, tries)
	}
	fatal := errors.New("fatal")
	if err := until(t.Context(), time.Minute, func(context.Context) error { return stop{fatal} }); err != fatal {
		t.Errorf("until = %v", err)
	}
	if err := until(t.Context(), 10*time.Millisecond, func(context.Context) error { return fatal }); !errors.Is(err, fatal) {
		t.Errorf("until = %v", err)
	}
}

// TestRunNamesWhatFailed: a binary that ends at once.
func TestRunNamesWhatFailed(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "holdfast")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\necho no such verb: $1; exit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := Run(t.Context(), Options{Holdfast: binary, Once: true, Out: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "start holdfast") || !strings.Contains(err.Error(), "no such verb: serve") {
		t.Errorf("Run = %v", err)
	}
	if err := Run(t.Context(), Options{}); err == nil {
		t.Error("Run without options is no error")
	}
}

func TestFlip(t *testing.T) {
	dir := t.TempDir()
	if _, err := findLog(dir); err == nil {
		t.Error("a log was found in an empty folder")
	}
	path := filepath.Join(dir, "HOLDFAST", "msgs", "1.blk")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("abcde"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := findLog(dir)
	if err != nil || got != path {
		t.Fatalf("findLog = %q, %v", got, err)
	}
	if err := flip(path); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "abbde" {
		t.Errorf("flipped: %q, %v", text, err)
	}
}
