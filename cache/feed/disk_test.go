package feed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-authz/holdfast/cache"
)

// refused appends until the log takes no more, and checks how it says so.
func (l *life) refused() error {
	var err error
	for i := 0; err == nil; i++ {
		if i > 10_000 {
			return errors.New("a full disk took everything")
		}
		err = l.revoke(fmt.Sprint("filling-", i))
	}
	fmt.Println("refused with:", err)
	for i := range 5 {
		if err == nil || !errors.Is(err, ErrNotDurable) {
			return fmt.Errorf("a full disk answered %w", err)
		}
		if err = l.revoke(fmt.Sprint("full-", i)); err == nil {
			return errors.New("a full disk took a record")
		}
	}
	if l.Status().Broken != "" {
		return fmt.Errorf("a full disk is no break: %+v", l.Status())
	}
	// Nobody can write: the feed goes stale by its clock.
	end := time.Now().Add(20 * time.Second)
	for l.sync.Health(time.Now(), time.Second) != cache.Stale {
		if time.Now().After(end) {
			return errors.New("a feed that can not tick is not stale")
		}
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		<-ctx.Done()
		cancel()
	}
	return nil
}

// childFileSize meets a limit for the size of a file: the broker's own write
// fails, in the middle of a record. Then the limit is lifted.
func childFileSize() int {
	l, err := beginSynced(os.Getenv(childDir), reserve)
	if err != nil {
		return fail(err)
	}
	defer l.stop()
	if err := l.revoke("before"); err != nil {
		return fail(err)
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return fail(err)
	}
	small := limit
	small.Cur = 20_000
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
		return fail(err)
	}
	if err := l.refused(); err != nil {
		return fail(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return fail(err)
	}
	if err := l.revokeUntil("after"); err != nil {
		return fail(err)
	}
	return 0
}

func TestFileSizeLimit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd, lines, stderr := child(t, "fsize", dir, nil)
	sids := acked(t, lines)
	if err := cmd.Wait(); err != nil || len(sids) < 3 {
		t.Fatalf("%v, %d acknowledged\n%s", err, len(sids), stderr)
	}
	holds(t, dir, sids)
}

// childFull has a disk of its own, of a few MiB, which it fills up: first so
// that Holdfast stops in time, then to the last byte under the broker's feet.
func childFull() int {
	dir := os.Getenv(childDir)
	if err := unix.Mount("feed", dir, "tmpfs", 0, "size=24m"); err != nil {
		fmt.Println("no mount:", err)
		return noMount
	}
	for left, keep := range map[int]uint64{1 << 20: reserve, 0: 0} {
		if err := fullOnce(dir, left, keep); err != nil {
			return fail(fmt.Errorf("%d bytes left: %w", left, err))
		}
	}

	// A start on a full disk, and one on a disk that can not be written.
	filler := filepath.Join(dir, "filler")
	if err := fillUp(filler, dir, 0); err != nil {
		return fail(err)
	}
	l, err := begin(dir, reserve)
	if err != nil {
		return fail(fmt.Errorf("start on a full disk: %w", err))
	}
	if err := l.until(func(s Status) bool { return s.Number > 4 }); err != nil {
		return fail(fmt.Errorf("read on a full disk: %w", err))
	}
	if err := l.revoke("full"); !errors.Is(err, ErrNotDurable) || l.Status().Synced {
		return fail(fmt.Errorf("started on a full disk: %w", err))
	}
	if err := os.Remove(filler); err != nil {
		return fail(err)
	}
	if err := l.revokeUntil("start"); err != nil {
		return fail(err)
	}
	l.stop()
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return fail(err)
	}
	if l, err := begin(dir, reserve); err == nil {
		return fail(fmt.Errorf("started on a read-only disk: %w", l.revoke("read-only")))
	} else if !strings.Contains(err.Error(), dir) {
		return fail(fmt.Errorf("read-only, but which directory? %w", err))
	} else {
		fmt.Println("start on a read-only disk:", err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, ""); err != nil {
		return fail(err)
	}
	return lookAgain(dir)
}

// fullOnce fills the disk under a feed that runs, and empties it again.
func fullOnce(dir string, left int, keep uint64) error {
	l, err := beginSynced(dir, keep)
	if err != nil {
		return err
	}
	defer l.stop()
	if err := l.revoke(fmt.Sprint("before-", left)); err != nil {
		return err
	}
	filler := filepath.Join(dir, "filler")
	if err := fillUp(filler, dir, left); err != nil {
		return err
	}
	if err := l.refused(); err != nil {
		return err
	}
	if err := os.Remove(filler); err != nil {
		return err
	}
	return l.revokeUntil(fmt.Sprint("after-", left))
}

// lookAgain prints what a start finds, for the parent to compare: the disk
// goes away with this process.
func lookAgain(dir string) int {
	l, err := beginSynced(dir, reserve)
	if err != nil {
		return fail(err)
	}
	defer l.stop()
	for n := uint64(1); n <= l.Status().Number; n++ {
		_, events, err := l.Events(context.Background(), n)
		if err != nil && !errors.Is(err, ErrNoRecord) {
			return fail(err)
		}
		for _, e := range events {
			fmt.Println("found", e.Value)
		}
	}
	return 0
}

func fillUp(path, dir string, left int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return err
	}
	b := make([]byte, int(st.Bavail)*int(st.Bsize)-left)
	_, err = f.Write(b)
	for left == 0 && err == nil {
		_, err = f.Write(make([]byte, 1))
	}
	if errors.Is(err, syscall.ENOSPC) && left == 0 {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// noMount is the exit code of a child that may not mount.
const noMount = 9

// TestFullDisk needs a mount namespace. Where the kernel gives none,
// TestFileSizeLimit alone lets the broker's writes fail for real.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd, lines, stderr := child(t, "full", dir, func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
		if os.Getuid() != 0 {
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
		}
	})
	found := make(map[string]bool)
	var sids []string
	for lines.Scan() {
		if sid, ok := strings.CutPrefix(lines.Text(), "found "); ok {
			found[sid] = true
		} else if sid, ok := strings.CutPrefix(lines.Text(), "acked "); ok {
			sids = append(sids, sid)
		} else {
			t.Log(lines.Text())
		}
	}
	err := cmd.Wait()
	if cmd.ProcessState.ExitCode() == noMount {
		t.Log("no disk of our own: a full one is tested by TestFileSizeLimit only")
		return
	}
	if err != nil || len(sids) < 3 {
		t.Fatalf("%v, %d acknowledged\n%s", err, len(sids), stderr)
	}
	for _, sid := range sids {
		if !found[sid] {
			t.Errorf("%s was acknowledged and is lost", sid)
		}
	}
}
