// A client in Go, of someone who has nothing but the .proto files: starts a task, follows it, loses its connection and resumes,
// terminates the task, and checks that it got every event once. Usage: client TARGET KEY_FILE; prints what it saw as JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "taskmeter/v1"
)

type summary struct {
	Token       string   `json:"token"`
	Seqs        []int64  `json:"seqs"`
	SnapshotSeq int64    `json:"snapshot_seq"`
	States      []int32  `json:"states"`
	Outcome     int32    `json:"outcome"`
	Output      string   `json:"output"`
	Refused     []string `json:"refused"`
}

// follow reads a stream until done says so, or the stream ends; it returns the last message's resume token.
func follow(ctx context.Context, client pb.TaskServiceClient, request *pb.StreamEventsRequest, seen *summary,
	done func(*pb.Event) bool) (string, error) {
	stream, err := client.StreamEvents(ctx, request)
	if err != nil {
		return "", err
	}
	resume := ""
	for {
		message, err := stream.Recv()
		if err == io.EOF {
			return resume, nil
		}
		if err != nil {
			return resume, err
		}
		resume = message.ResumeToken
		if seen.SnapshotSeq == 0 {
			seen.SnapshotSeq = message.Seq
		}
		last := false
		for _, event := range message.Events {
			seen.Seqs = append(seen.Seqs, event.Seq)
			if change := event.GetStateChanged(); change != nil {
				seen.States = append(seen.States, int32(change.ToState))
			}
			last = last || done(event)
		}
		if last {
			return resume, nil
		}
	}
}

func run(target, key string) (*summary, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
	dial := func() (*grpc.ClientConn, error) {
		return grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	}
	connection, err := dial()
	if err != nil {
		return nil, err
	}
	client := pb.NewTaskServiceClient(connection)

	spec := &pb.TaskSpec{Name: "from Go", Work: &pb.TaskSpec_Command{Command: &pb.Command{
		Argv: []string{"sh", "-c", "echo hello from Go; exec sleep 600"}}}}
	started, err := client.StartTask(ctx, &pb.StartTaskRequest{Spec: spec})
	if err != nil {
		return nil, fmt.Errorf("StartTask: %w", err)
	}
	seen := &summary{Token: started.Token}
	if _, err = client.WaitTask(ctx, &pb.WaitTaskRequest{Token: started.Token, States: []pb.TaskState{pb.TaskState_TASK_STATE_RUNNING}}); err != nil {
		return nil, fmt.Errorf("WaitTask: %w", err)
	}

	// follow from a snapshot; an update made from here is the first event; then lose the connection
	updates := 0
	update := func(client pb.TaskServiceClient) error {
		updates++
		request := &pb.UpdateTaskRequest{Token: started.Token, SetMetadata: map[string]string{"n": fmt.Sprint(updates)}}
		_, err := client.UpdateTask(ctx, request)
		return err
	}
	updated := make(chan error, 1)
	go func() {
		for range 5 {
			if err := update(client); err != nil {
				updated <- err
				return
			}
		}
		updated <- nil
	}()
	first := &pb.StreamEventsRequest{Tokens: []string{started.Token}, Start: &pb.StreamEventsRequest_SnapshotFirst{SnapshotFirst: true}}
	resume, err := follow(ctx, client, first, seen, func(event *pb.Event) bool {
		return event.GetMetadataChanged().GetMetadata()["n"] == "5"
	})
	if err == nil {
		err = <-updated
	}
	if err != nil {
		return nil, fmt.Errorf("first stream: %w", err)
	}
	if err = connection.Close(); err != nil {
		return nil, err
	}

	// what happens meanwhile comes after the resume token, on another connection
	if connection, err = dial(); err != nil {
		return nil, err
	}
	defer connection.Close()
	client = pb.NewTaskServiceClient(connection)
	if err = update(client); err != nil {
		return nil, err
	}
	if _, err = client.Terminate(ctx, &pb.TerminateRequest{Token: started.Token, GracePeriodSeconds: proto.Float64(5)}); err != nil {
		return nil, fmt.Errorf("Terminate: %w", err)
	}
	again := &pb.StreamEventsRequest{Tokens: []string{started.Token}, UntilTerminal: true,
		Start: &pb.StreamEventsRequest_ResumeToken{ResumeToken: resume}}
	if _, err = follow(ctx, client, again, seen, func(*pb.Event) bool { return false }); err != nil {
		return nil, fmt.Errorf("second stream: %w", err)
	}
	final, err := client.GetTaskStatus(ctx, &pb.GetTaskStatusRequest{Token: started.Token})
	if err != nil {
		return nil, err
	}
	seen.Outcome = int32(final.Status.Outcome)

	output, err := pb.NewFileServiceClient(connection).ReadFile(ctx, &pb.ReadFileRequest{Token: started.Token, Path: "stdout"})
	if err != nil {
		return nil, err
	}
	for {
		piece, err := output.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("ReadFile: %w", err)
		}
		seen.Output += string(piece.Data)
	}

	// errors carry code and reason in the standard way
	_, err = client.Terminate(ctx, &pb.TerminateRequest{Token: started.Token})
	if status.Code(err) != codes.FailedPrecondition {
		return nil, fmt.Errorf("a second Terminate gave %v", err)
	}
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			seen.Refused = append(seen.Refused, info.Domain+"/"+info.Reason)
		}
	}
	return seen, nil
}

func main() {
	key, err := os.ReadFile(os.Args[2])
	if err == nil {
		var seen *summary
		if seen, err = run(os.Args[1], strings.TrimSpace(string(key))); err == nil {
			err = json.NewEncoder(os.Stdout).Encode(seen)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
