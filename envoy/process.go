package envoy

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
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Options says which Envoy to run.
type Options struct {
	Binary string        // from Find
	Config []byte        // from Render, with admin on port 0 or a fixed one
	Dir    string        // for the configuration and the logs; the caller's to remove
	Wait   time.Duration // for Envoy to become ready, 0 = 30s
}

// Process is a running Envoy. It ends with the context that started it, or by
// Stop; its logs stay in Options.Dir.
type Process struct {
	Listener string // address of the first listener
	Admin    string // address of the admin interface
	LogFile  string // Envoy's own log

	http *http.Client
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has been waited for
	err  error         // its end; read after done
}

const (
	defaultWait = 30 * time.Second
	poll        = 10 * time.Millisecond // /ready takes Envoy microseconds
	adminWait   = 10 * time.Second      // for one page
	stopWait    = 3 * time.Second       // from SIGTERM to SIGKILL
	tailBytes   = 4 << 10
)

// Start runs Envoy and returns once it is ready: its listener accepts, and its
// health check has had a first answer, good or bad, from Holdfast.
func Start(ctx context.Context, o Options) (*Process, error) {
	config := filepath.Join(o.Dir, "envoy.yaml")
	if err := os.WriteFile(config, o.Config, 0o600); err != nil {
		return nil, fmt.Errorf("start Envoy: %w", err)
	}
	adminFile := filepath.Join(o.Dir, "envoy.admin")
	if err := os.Remove(adminFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("start Envoy: %w", err)
	}
	p := &Process{LogFile: filepath.Join(o.Dir, "envoy.log"), http: &http.Client{Timeout: adminWait}, done: make(chan struct{})}
	log, err := os.Create(p.LogFile)
	if err != nil {
		return nil, fmt.Errorf("start Envoy: %w", err)
	}
	defer log.Close() // the child has its own

	// Without hot restart several Envoys on one machine do not meet in shared
	// memory. The access log is flushed at once for whoever follows it.
	p.cmd = exec.CommandContext(ctx, o.Binary, "-c", config, "--admin-address-path", adminFile,
		"--disable-hot-restart", "--concurrency", "2", "--log-level", "warning", "--file-flush-interval-msec", "20")
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us; we end it
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start Envoy: %w", err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	if o.Wait == 0 {
		o.Wait = defaultWait
	}
	if err := p.ready(ctx, adminFile, o.Wait); err != nil {
		p.Stop()
		return nil, fmt.Errorf("start Envoy: %w\n%s", err, p.Tail())
	}
	return p, nil
}

// ready waits until Envoy says that it is live and has told its addresses.
func (p *Process) ready(ctx context.Context, adminFile string, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	var last error
	for {
		if last = p.probe(ctx, adminFile); last == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("it ended at once (%v)", p.err) //nolint:errorlint // nil after exit 0
		case <-ctx.Done():
			return fmt.Errorf("not ready after %s: %w", wait, last)
		case <-tick.C:
		}
	}
}

func (p *Process) probe(ctx context.Context, adminFile string) error {
	if p.Admin == "" {
		addr, err := os.ReadFile(adminFile)
		if err != nil {
			return err
		}
		if _, _, err := net.SplitHostPort(string(addr)); err != nil { // not written to its end yet
			return err
		}
		p.Admin = string(addr)
	}
	if _, err := p.AdminGet(ctx, "/ready"); err != nil {
		return err
	}
	listeners, err := p.AdminGet(ctx, "/listeners?format=json")
	if err != nil {
		return err
	}
	p.Listener, err = firstListener(listeners)
	return err
}

// firstListener reads Envoy's admin.v3.Listeners.
func firstListener(doc []byte) (string, error) {
	var list struct {
		Statuses []struct {
			Local struct {
				Socket struct {
					Address string `json:"address"`
					Port    uint16 `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.NewDecoder(bytes.NewReader(doc)).Decode(&list); err != nil {
		return "", fmt.Errorf("read the listeners: %w", err)
	}
	if len(list.Statuses) == 0 || list.Statuses[0].Local.Socket.Port == 0 {
		return "", errors.New("no listener has a port yet")
	}
	socket := list.Statuses[0].Local.Socket
	return net.JoinHostPort(socket.Address, strconv.Itoa(int(socket.Port))), nil
}

// AdminGet fetches a page of the admin interface, such as /clusters.
func (p *Process) AdminGet(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Admin+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := p.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("admin %s: %s: %s", path, res.Status, strings.TrimSpace(string(body)))
	}
	return body, nil
}

// Done is closed when Envoy has ended, by itself or by Stop.
func (p *Process) Done() <-chan struct{} { return p.done }

// Stop ends Envoy and waits for it. It may be called more than once.
func (p *Process) Stop() {
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself just now
	select {
	case <-p.done:
	case <-time.After(stopWait):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// Tail is the end of Envoy's log, for people who ask what went wrong.
func (p *Process) Tail() string {
	log, err := os.ReadFile(p.LogFile)
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(log[max(0, len(log)-tailBytes):]))
}

// Validate lets Envoy itself check a configuration, certificate files included.
func Validate(ctx context.Context, binary, file string) error {
	out, err := exec.CommandContext(ctx, binary, "--mode", "validate", "--log-level", "warning", "-c", file).CombinedOutput()
	if err != nil {
		return fmt.Errorf("envoy --mode validate -c %s: %w\n%s", file, err, bytes.TrimSpace(out))
	}
	return nil
}
