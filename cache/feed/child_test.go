package feed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
)

const (
	// childRole names, in the environment of a child, which part it plays.
	childRole = "FEED_TEST_CHILD"
	childDir  = "FEED_TEST_DIRECTORY"
)

// children are the parts that this test binary plays in a process of its own.
// What one prints as "acked SID" must never be lost.
var children = map[string]func() int{
	"writer": childWriter,
	"fsize":  childFileSize,
	"full":   childFull,
}

// life is one process's use of a directory.
type life struct {
	*Feed
	log  *Embedded
	sync *cache.Sync
	stop func()
}

// begin leaves keep bytes of the disk free.
func begin(dir string, keep uint64) (*life, error) {
	l, err := OpenEmbedded(EmbeddedConfig{Directory: dir, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return nil, err
	}
	l.keep = keep
	h, err := OpenHead(filepath.Join(dir, "head"))
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	y := &cache.Sync{}
	f, err := New(Config{Log: l, Key: testKey, Head: h, MaxAge: time.Second, Sync: y,
		Apply: func(uint64, time.Time, []cache.Event) {}, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	stop := func() {
		cancel()
		err := errors.Join(<-done, l.Close(), h.Close())
		if err != nil {
			fmt.Println("failed to stop:", err)
		}
	}
	return &life{f, l, y, stop}, nil
}

// beginSynced waits until the feed can be written.
func beginSynced(dir string, keep uint64) (*life, error) {
	l, err := begin(dir, keep)
	if err != nil {
		return nil, err
	}
	if err := l.until(func(s Status) bool { return s.Synced && s.Broken == "" }); err != nil {
		l.stop()
		return nil, err
	}
	return l, nil
}

// until waits for a state of the feed.
func (l *life) until(done func(s Status) bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		l.mu.Lock()
		changed := l.changed
		l.mu.Unlock()
		if done(l.Status()) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not reached: %+v", l.Status())
		case <-changed:
		}
	}
}

// revoke appends, and says so on stdout when that was acknowledged.
func (l *life) revoke(sid string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, _, err := l.Append(ctx, revoke(sid))
	if err == nil {
		_, err = os.Stdout.WriteString("acked " + sid + "\n")
	}
	return err
}

// revokeUntil tries again until it works: it must, when space is back.
func (l *life) revokeUntil(sid string) (err error) {
	end := time.Now().Add(30 * time.Second)
	for n := 0; time.Now().Before(end); n++ {
		if err = l.revoke(fmt.Sprint(sid, "-", n)); err == nil {
			return nil
		}
		// Pace by the feed, not by a sleep.
		l.mu.Lock()
		changed := l.changed
		l.mu.Unlock()
		timer := time.NewTimer(50 * time.Millisecond)
		select {
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
	return err
}

func fail(err error) int {
	fmt.Println("failed:", err)
	return 1
}

// child starts this binary in a part, and gives what it prints.
func child(t *testing.T, role, dir string, edit func(*exec.Cmd)) (*exec.Cmd, *bufio.Scanner, *strings.Builder) {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), childRole+"="+role, childDir+"="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(cmd)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out), &stderr
}

// acked reads to the end what a child acknowledged and what it logged.
func acked(t *testing.T, lines *bufio.Scanner) (sids []string) {
	t.Helper()
	for lines.Scan() {
		if sid, ok := strings.CutPrefix(lines.Text(), "acked "); ok {
			sids = append(sids, sid)
		} else {
			t.Log(lines.Text())
		}
	}
	return sids
}

// holds opens a directory and looks for revocations.
func holds(t *testing.T, dir string, sids []string) {
	t.Helper()
	run(t, dir, func(_ *Embedded, r *replica) {
		r.synced(t)
		for _, sid := range sids {
			if !r.has(sid) {
				t.Errorf("%s was acknowledged and is lost", sid)
			}
		}
	})
}

func childWriter() int {
	l, err := beginSynced(os.Getenv(childDir), reserve)
	if err != nil {
		return fail(err)
	}
	for i := 0; ; i++ {
		if err := l.revoke(fmt.Sprint(os.Getpid(), "-", i)); err != nil {
			return fail(err)
		}
	}
}
