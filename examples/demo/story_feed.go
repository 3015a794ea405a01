package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// crash kills Holdfast. While it is down Envoy lets nobody in, and when it is
// back the revocation holds: never is the lost phone served in between.
func (s *story) crash(ctx context.Context) error {
	s.holdfast.Kill()
	laptop := request{by: s.alice, token: s.laptop.Access, path: "/orders"}
	if _, err := s.expect(ctx, laptop, http.StatusServiceUnavailable, ""); err != nil {
		return err
	}
	start := time.Now()
	if err := s.startHoldfast(ctx); err != nil {
		return err
	}
	if err := s.holds(ctx); err != nil {
		return err
	}
	s.say("   decides again %.0f ms after its start", ms(time.Since(start)))
	return nil
}

// holds waits until the revoked session is refused as such and the other one
// is served. On the way there is only 503: by Envoy alone, or by a Holdfast
// that is not ready.
func (s *story) holds(ctx context.Context) error {
	phone := request{by: s.alice, token: s.phone.Access, path: "/orders"}
	if _, err := s.await(ctx, phone, http.StatusUnauthorized, "session_revoked", "", "not_ready", "feed_stale", "keys_unavailable"); err != nil {
		return err
	}
	laptop := request{by: s.alice, token: s.laptop.Access, path: "/orders"}
	_, err := s.await(ctx, laptop, http.StatusOK, "ok", "", "not_ready", "feed_stale", "keys_unavailable")
	return err
}

// damage changes one byte of the log on disk, in the middle of what is stored,
// as a bad disk or somebody who wants a revocation gone would. Holdfast can
// not know any more who is revoked, and says so, until the log is whole again.
func (s *story) damage(ctx context.Context) error {
	s.holdfast.Kill()
	log, err := findLog(s.file("feed"))
	if err != nil {
		return err
	}
	folder := filepath.Dir(filepath.Dir(log)) // the stream: its records and its index
	backup := s.file("backup")
	if err := os.CopyFS(backup, os.DirFS(folder)); err != nil {
		return fmt.Errorf("copy the log: %w", err)
	}
	if err := flip(log); err != nil {
		return err
	}
	if err := s.startHoldfast(ctx); err != nil {
		return err
	}
	if err := s.unsure(ctx); err != nil {
		return err
	}

	s.say("   the log is restored from its copy")
	s.holdfast.Kill()
	if err := errors.Join(os.RemoveAll(folder), os.CopyFS(folder, os.DirFS(backup))); err != nil {
		return fmt.Errorf("restore the log: %w", err)
	}
	if err := s.startHoldfast(ctx); err != nil {
		return err
	}
	return s.holds(ctx)
}

// unsure holds the answers to 503, for every session, and /readyz to a failure
// that names the feed.
func (s *story) unsure(ctx context.Context) error {
	why := ""
	err := until(ctx, startWait, func(ctx context.Context) error {
		page, err := fetch(ctx, s.holdfast.Admin+"/readyz?verbose")
		for line := range strings.Lines(string(page)) {
			if rest, ok := strings.CutPrefix(line, "[-]feed failed: feed is broken"); ok && err != nil {
				why = strings.TrimSpace(rest)
				return nil
			}
		}
		return fmt.Errorf("/readyz does not say that the feed is broken: %s (%w)", page, err)
	})
	if err != nil {
		return err
	}
	s.say("   Holdfast says: feed is broken %s", why)
	for _, token := range []string{s.phone.Access, s.laptop.Access} {
		call := request{by: s.alice, token: token, path: "/orders"}
		a, err := s.send(ctx, call)
		if err != nil {
			return err
		}
		s.say("   %-44s -> %s", call, a)
		if a.status != http.StatusServiceUnavailable {
			return fmt.Errorf("%s: got %d %q, want 503", call, a.status, a.log.Reason)
		}
		// No reason: Envoy's health check has already heard that Holdfast is
		// not ready, and Envoy did not ask. No keys: this process is so new
		// that it has not fetched them.
		if a.log.Reason != "" && a.log.Reason != "keys_unavailable" && (a.log.Reason != "feed_stale" || a.header.Get("Retry-After") == "") {
			return fmt.Errorf("%s: got %q with %v, want feed_stale with Retry-After", call, a.log.Reason, a.header)
		}
	}
	return nil
}

// findLog is the file that JetStream keeps the records in.
func findLog(dir string) (string, error) {
	var found string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".blk") && strings.Contains(path, "HOLDFAST") {
			found = path
		}
		return err
	})
	if err == nil && found == "" {
		err = errors.New("no block file of the stream HOLDFAST")
	}
	if err != nil {
		return "", fmt.Errorf("find the log below %s: %w", dir, err)
	}
	return found, nil
}

// flip changes one bit in the middle of a file.
func flip(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if len(text) == 0 {
		return fmt.Errorf("%s is empty", path)
	}
	text[len(text)/2] ^= 1
	return os.WriteFile(path, text, 0o600)
}
