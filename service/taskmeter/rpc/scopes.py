"""Which scope each method needs. A method that is not listed cannot be called: default deny, and a test fails for it."""

from __future__ import annotations

from taskmeter.model.key import Scope

METHOD_SCOPES: dict[str, Scope] = {
    "/taskmeter.v1.TaskService/StartTask": Scope.SUBMIT,
    "/taskmeter.v1.TaskService/GetTaskStatus": Scope.READ,
    "/taskmeter.v1.TaskService/GetTaskRecord": Scope.READ,
    "/taskmeter.v1.TaskService/ListTasks": Scope.READ,
    "/taskmeter.v1.TaskService/Terminate": Scope.CONTROL,
    "/taskmeter.v1.TaskService/TerminateTasks": Scope.CONTROL,
    "/taskmeter.v1.TaskService/RetryTask": Scope.CONTROL,
    "/taskmeter.v1.TaskService/RetryTasks": Scope.CONTROL,
    "/taskmeter.v1.TaskService/WaitTask": Scope.READ,
    "/taskmeter.v1.TaskService/StreamEvents": Scope.READ,
    "/taskmeter.v1.TaskService/UpdateTask": Scope.CONTROL,
    "/taskmeter.v1.TaskService/DeleteTask": Scope.CONTROL,
    "/taskmeter.v1.TaskService/ReportProgress": Scope.CONTROL,
    "/taskmeter.v1.TaskService/SendItems": Scope.SUBMIT,
    "/taskmeter.v1.TaskService/GetMetricsHistory": Scope.READ,
    "/taskmeter.v1.FileService/ReadFile": Scope.FILES,
    "/taskmeter.v1.QueueService/PutQueue": Scope.CONTROL,
    "/taskmeter.v1.QueueService/ListQueues": Scope.READ,
    "/taskmeter.v1.QueueService/PauseQueue": Scope.CONTROL,
    "/taskmeter.v1.QueueService/ResumeQueue": Scope.CONTROL,
    "/taskmeter.v1.QueueService/DeleteQueue": Scope.CONTROL,
    "/taskmeter.v1.ScheduleService/PutSchedule": Scope.SUBMIT,
    "/taskmeter.v1.ScheduleService/ListSchedules": Scope.READ,
    "/taskmeter.v1.ScheduleService/GetSchedule": Scope.READ,
    "/taskmeter.v1.ScheduleService/PauseSchedule": Scope.CONTROL,
    "/taskmeter.v1.ScheduleService/ResumeSchedule": Scope.CONTROL,
    "/taskmeter.v1.ScheduleService/DeleteSchedule": Scope.CONTROL,
    "/taskmeter.v1.ScheduleService/RunSchedule": Scope.SUBMIT,
    "/taskmeter.v1.AdminService/GetServerInfo": Scope.READ,
    "/taskmeter.v1.AdminService/Drain": Scope.ADMIN,
    "/taskmeter.v1.AdminService/CreateKey": Scope.ADMIN,
    "/taskmeter.v1.AdminService/RevokeKey": Scope.ADMIN,
    "/taskmeter.v1.AdminService/ListKeys": Scope.ADMIN,
}
