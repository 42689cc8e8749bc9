// A Go program that reports itself, without a library of ours: only what protoc makes of protos/taskmeter/v1.
//
//	go build -o reporter . && taskmeter run -- ./reporter 20
//
// Everything it needs to know is in its environment: TASKMETER_TARGET says where the daemon listens, TASKMETER_TOKEN which task
// this is, and TASKMETER_REPORT_KEY opens ReportProgress for this attempt of it and nothing else. tests/interop/test_go.py builds
// it, and shows the commands.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	pb "taskmeter/v1"
)

func item(name string, status pb.ItemStatus) *pb.ItemChanged {
	return &pb.ItemChanged{ItemId: &pb.ItemId{Id: &pb.ItemId_Text{Text: name}}, Stage: "square", Status: status}
}

func run(count int) error {
	connection, err := grpc.NewClient(os.Getenv("TASKMETER_TARGET"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+os.Getenv("TASKMETER_REPORT_KEY"))
	// One stream for as long as the program runs. What is sent shows at once; the answer at its end says how many reports are kept.
	reports, err := pb.NewTaskServiceClient(connection).ReportProgress(ctx)
	if err != nil {
		return err
	}
	total, status := int64(count), "squaring"
	first := &pb.ReportProgressRequest{Token: os.Getenv("TASKMETER_TOKEN"), SetTotalCount: &total, Status: &status, Ready: true}
	if err := reports.Send(first); err != nil {
		_, err = reports.CloseAndRecv() // says why
		return err
	}
	sum := 0
	for n := 1; n <= count; n++ {
		sum += n * n
		name := strconv.Itoa(n)
		report := &pb.ReportProgressRequest{
			AddCompletedCount: 1,
			CurrentObject:     &name,
			Items:             []*pb.ItemChanged{item(name, pb.ItemStatus_ITEM_STATUS_COMPLETED)},
			AddCustom:         map[string]int64{"squared": int64(n)},
		}
		if n == count {
			text := fmt.Sprintf("the sum is %d", sum)
			report.Messages = []*pb.Message{{Level: pb.MessageLevel_MESSAGE_LEVEL_NOTE, Text: text}}
		}
		if err := reports.Send(report); err != nil {
			_, err = reports.CloseAndRecv()
			return err
		}
	}
	answer, err := reports.CloseAndRecv()
	if err != nil {
		return err
	}
	fmt.Println("reports kept:", answer.AcceptedCount)
	return nil
}

func main() {
	count := 10
	if len(os.Args) > 1 {
		count, _ = strconv.Atoi(os.Args[1])
	}
	if os.Getenv("TASKMETER_REPORT_KEY") == "" {
		fmt.Fprintln(os.Stderr, "not in a task: there is nobody to report to")
		return
	}
	if err := run(count); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
