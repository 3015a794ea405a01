package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"syscall"
	"time"
)

// Holdfast is a running `holdfast serve`.
type Holdfast struct {
	Admin   string // http://host:port of its admin listener, as its log says
	Events  string // the same of the listener for events, "" where it has none
	LogFile string

	cmd  *exec.Cmd
	done chan struct{} // closed when the process has been waited for
	err  error         // its end; read after done
}

const (
	startWait = 30 * time.Second // a loaded machine; it takes some 100 ms
	stopWait  = 10 * time.Second // from SIGTERM to SIGKILL
	pollEvery = 5 * time.Millisecond
	tailBytes = 6 << 10
)

// StartHoldfast runs the binary with a configuration file and returns once its
// admin listener answers. Whether it is ready is another question: see Ready.
// The log is appended to, so that a restart does not lose the one before.
func StartHoldfast(ctx context.Context, binary, config, logFile string) (*Holdfast, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start holdfast: %w", err)
	}
	defer log.Close() // the child has its own
	before, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("start holdfast: %w", err)
	}
	h := &Holdfast{LogFile: logFile, done: make(chan struct{})}
	h.cmd = exec.CommandContext(ctx, binary, "serve", "-c", config)
	h.cmd.Stdout, h.cmd.Stderr = log, log
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us; we end it
	if err := h.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start holdfast: %w", err)
	}
	go func() {
		h.err = h.cmd.Wait()
		close(h.done)
	}()
	err = until(ctx, startWait, func(ctx context.Context) error {
		select {
		case <-h.done:
			return stop{fmt.Errorf("it ended at once (%v)", h.err)} //nolint:errorlint // nil after exit 0
		default:
		}
		return h.findAdmin(ctx, before)
	})
	if err != nil {
		h.Kill()
		return nil, fmt.Errorf("start holdfast: %w\n%s", err, tail(logFile))
	}
	return h, nil
}

// The lines that tell where listeners are.
var (
	adminLine  = regexp.MustCompile(`(?m)^.*\badmin\b.*?(127\.0\.0\.1:[1-9][0-9]*)`)
	eventsLine = regexp.MustCompile(`(?m)^.*\blistener\W+events\b.*?(127\.0\.0\.1:[1-9][0-9]*)`)
)

func (h *Holdfast) findAdmin(ctx context.Context, after int64) error {
	log, err := os.ReadFile(h.LogFile)
	if err != nil {
		return err
	}
	m := adminLine.FindSubmatch(log[min(int(after), len(log)):])
	if m == nil {
		return errors.New("its log does not tell the address of the admin listener yet")
	}
	h.Admin = "http://" + string(m[1])
	if _, err = fetch(ctx, h.Admin+"/livez"); err != nil {
		return err
	}
	// It answers, so it has said where else it listens.
	if log, err = os.ReadFile(h.LogFile); err != nil {
		return err
	}
	if m := eventsLine.FindSubmatch(log[min(int(after), len(log)):]); m != nil {
		h.Events = "http://" + string(m[1])
	}
	return nil
}

// Ready returns nil when Holdfast says that it decides by a complete feed.
func (h *Holdfast) Ready(ctx context.Context) error {
	_, err := fetch(ctx, h.Admin+"/readyz?verbose")
	return err
}

// WaitReady waits for Ready.
func (h *Holdfast) WaitReady(ctx context.Context) error {
	if err := until(ctx, startWait, h.Ready); err != nil {
		return fmt.Errorf("holdfast does not become ready: %w", err)
	}
	return nil
}

// Kill ends the process with SIGKILL, as a power cut would, and waits for it.
func (h *Holdfast) Kill() {
	_ = h.cmd.Process.Kill() // an error means that it has ended
	<-h.done
}

// Stop asks the process to drain and waits for it.
func (h *Holdfast) Stop() {
	_ = h.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-h.done:
	case <-time.After(stopWait):
		h.Kill()
	}
}

// Tail is the end of the log.
func (h *Holdfast) Tail() string { return tail(h.LogFile) }

func tail(file string) string {
	log, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(log[max(0, len(log)-tailBytes):]))
}

// stop is an error that ends until at once.
type stop struct{ error }

// until calls try until it returns nil, a stop, or the time is up.
func until(ctx context.Context, wait time.Duration, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := try(ctx)
		var final stop
		if err == nil {
			return nil
		} else if errors.As(err, &final) {
			return final.error
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("gave up after %s: %w", wait, err)
		case <-tick.C:
		}
	}
}

// local is the client for what listens on loopback: admin listener, issuer.
func local() *http.Client { return &http.Client{Timeout: 10 * time.Second} }

// decode reads what our own processes have written.
func decode(text []byte, into any) error {
	return json.NewDecoder(bytes.NewReader(text)).Decode(into)
}

// fetch gets a page that must answer 200.
func fetch(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := local().Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %s", url, res.Status, bytes.TrimSpace(body))
	}
	return body, err
}

// serve runs an HTTP handler on a port of loopback until ctx ends, and returns
// its host:port. The handler is made when the port is known.
func serve(ctx context.Context, handler func(addr string) (http.Handler, error)) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	h, err := handler(l.Addr().String())
	if err != nil {
		return "", errors.Join(err, l.Close())
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() { _ = server.Serve(l) }() // ends with Close
	return l.Addr().String(), nil
}
