package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// request asks a lane to run a command, or to kill the one that runs.
type request struct {
	Kill     bool `json:",omitempty"`
	Args     []string
	Env      []string
	Dir      string
	UID, GID uint32
	Terminal *unix.Winsize `json:",omitempty"` // give the command a terminal of this size
}

// reply tells that a command has its terminal (which comes with it), or how it ended.
type reply struct {
	Started bool
	Code    int
	Signal  int
	Failure *failure // the command could not be started
}

// serveLane runs commands, one at a time. It is the first process of a process namespace, so that all that a
// command leaves behind becomes its child and can be killed in one stroke.
func serveLane() error {
	c, err := ownSocket()
	if err != nil {
		return err
	}
	defer c.Close()
	err = prepareLane()
	if err := errors.Join(err, c.send(answer{newFailure(err)})); err != nil {
		return err
	}
	root, err := unix.Open(innerRoot, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	lane := lane{conn: c, root: root}
	for {
		var r request
		files, err := c.receive(&r)
		switch {
		case errors.Is(err, io.EOF):
			return nil // the kernel kills what may still run
		case err != nil:
			return err
		case r.Kill:
			killAll()
		default:
			lane.start(&r, files)
		}
		closeAll(files)
	}
}

func prepareLane() error {
	if err := mountProc(); err != nil {
		return err
	}
	// A signal ignored here would be ignored in every command; one that is handled here is not.
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGPIPE)
	// Old programs close every descriptor that they could have; more than the usual 1024 makes them crawl.
	limits := map[int]unix.Rlimit{unix.RLIMIT_CORE: {}, unix.RLIMIT_NOFILE: {Cur: 1024, Max: 4096}}
	for which, limit := range limits {
		// Through syscall, whose record of the limit to give to children this updates.
		l := syscall.Rlimit(limit)
		if err := syscall.Setrlimit(which, &l); err != nil {
			return fmt.Errorf("setting resource limit %d: %w", which, err)
		}
	}
	return dropCapabilities()
}

type lane struct {
	conn *conn
	send sync.Mutex
	root int
}

func (l *lane) reply(r reply, files ...*os.File) {
	l.send.Lock()
	defer l.send.Unlock()
	_ = l.conn.send(r, files...) // an owner that is gone is noticed by receive
}

// start starts a command with files as its standard input, output and error, and has its end reported.
func (l *lane) start(r *request, files []*os.File) {
	attr := &syscall.ProcAttr{Dir: r.Dir, Env: r.Env, Sys: &syscall.SysProcAttr{
		Chroot: innerRoot, Setsid: true,
		Credential: &syscall.Credential{Uid: r.UID, Gid: r.GID},
	}}
	if r.Terminal != nil {
		master, slave, err := openTerminal(l.root, r)
		if err != nil {
			l.reply(reply{Failure: newFailure(err)})
			return
		}
		defer master.Close()
		defer slave.Close()
		files = []*os.File{slave, slave, slave}
		attr.Sys.Setctty = true
		l.reply(reply{Started: true}, master)
	}
	if len(files) != maxFiles || len(r.Args) == 0 {
		l.reply(reply{Failure: newFailure(fmt.Errorf("a command needs arguments and %d files", maxFiles))})
		return
	}
	for _, f := range files {
		attr.Files = append(attr.Files, f.Fd())
	}
	pid, err := l.exec(r, attr)
	if err != nil {
		l.reply(reply{Failure: newFailure(err)})
		return
	}
	go l.finish(pid)
}

func (l *lane) exec(r *request, attr *syscall.ProcAttr) (int, error) {
	file, err := l.find(r)
	if err != nil {
		return 0, err
	}
	for pause := time.Millisecond; ; pause *= 2 {
		pid, err := syscall.ForkExec(file, r.Args, attr)
		// A script that was just written is busy while some process forked meanwhile holds a copy of its
		// writer's descriptor; such a process is about to exec and lose it.
		if errors.Is(err, unix.ETXTBSY) && pause < time.Second {
			time.Sleep(pause)
			continue
		}
		return pid, err
	}
}

// find looks up a command's file in PATH, as execvp(3) does, inside the tree.
func (l *lane) find(r *request) (string, error) {
	name := r.Args[0]
	if strings.Contains(name, "/") {
		return name, nil
	}
	var search string
	for _, e := range r.Env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			search = v
		}
	}
	for _, dir := range strings.Split(search, ":") {
		file := path.Join("/", dir, name)
		fd, err := inRoot(l.root, file, unix.O_PATH, 0)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		err = unix.Fstat(fd, &st)
		closeFD(fd)
		if err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("not found in PATH (%s): %w", search, unix.ENOENT)
}

// finish waits for the command, kills and reaps all that it left behind, and reports.
func (l *lane) finish(pid int) {
	var end reply
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil: // ECHILD: everything is gone
			l.reply(end)
			return
		case got == pid:
			end.Code = status.ExitStatus()
			if status.Signaled() {
				end.Code, end.Signal = 128+int(status.Signal()), int(status.Signal())
			}
			killAll()
		}
	}
}

// killAll kills every process of the namespace but this one, in one step that no fork can outrun (kill(2)).
func killAll() {
	_ = unix.Kill(-1, unix.SIGKILL) // ESRCH: there is none
}
