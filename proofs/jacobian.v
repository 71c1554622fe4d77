(** * The Jacobian of a gate's weights

    Weights that a threshold τ keeps at a fixed sum have a derivative of one form: with s_n the slope of
    the n-th weight in its own logit, J = diag(s) − s sᵀ / Σ s. The library never forms J: the function
    `centre` in tensormoe/gates/newton.py multiplies it with a vector. *)

From TensorMoE Require Import sums.

Section Jacobian.

Variable N : nat.

(** Σ s; 1 where it is 0, so that nothing is divided by 0. In Python: [total + (total == 0)]. *)
Definition total (s : nat -> R) : R := sum N s + if Req_EM_T (sum N s) 0 then 1 else 0.

(** What the library computes: [(v - mean) * s], where [mean = sum(s * v) / total]. *)
Definition centre (s v : nat -> R) (n : nat) : R := (v n - (Σ m < N, s m * v m) / total s) * s n.

(** The matrix that it stands for. *)
Definition jacobian (s : nat -> R) (n m : nat) : R := s n * identity n m - s n * s m / total s.

Lemma total_is s : sum N s <> 0 -> total s = sum N s.
Proof. unfold total. destruct (Req_EM_T (sum N s) 0); [contradiction | lra]. Qed.

Lemma total_nonzero s : total s <> 0.
Proof. unfold total. destruct (Req_EM_T (sum N s) 0); lra. Qed.

(** The library's function is the product of this matrix and v. *)
Theorem centre_is_the_product s v : ∀ n < N, centre s v n = Σ m < N, jacobian s n m * v m.
Proof.
  intros n Hn. unfold centre, jacobian.
  rewrite (sum_ext N (fun m => (s n * identity n m - s n * s m / total s) * v m)
    (fun m => s n * (identity n m * v m) - s n / total s * (s m * v m))).
  2: { intros m _. cbn beta. field. apply total_nonzero. }
  rewrite sum_sub, !sum_scale, sum_identity by exact Hn. field. apply total_nonzero.
Qed.

(** The Jacobian is symmetric, whatever the slopes are: one product serves forward and reverse mode. *)
Theorem jacobian_symmetric s n m : jacobian s n m = jacobian s m n.
Proof.
  unfold jacobian. rewrite (identity_symmetric n m). unfold identity.
  destruct (Nat.eq_dec m n) as [-> |]; [reflexivity |]. field. apply total_nonzero.
Qed.

(** Where slopes are not negative, each row sums to 0: adding one number to all logits changes no weight. *)
Theorem jacobian_rows_sum_to_zero s : (∀ n < N, 0 <= s n) -> ∀ n < N, Σ m < N, jacobian s n m = 0.
Proof.
  intros P n Hn. unfold jacobian.
  rewrite (sum_ext N _ (fun m => s n * (identity n m * 1) - s n / total s * s m)).
  2: { intros m _. cbn beta. field. apply total_nonzero. }
  rewrite sum_sub, !sum_scale, sum_identity by exact Hn.
  destruct (Req_dec (sum N s) 0) as [Z | Z]; [| rewrite total_is by exact Z; field; exact Z].
  pose proof (term_le_sum N s n P Hn). pose proof (P n Hn). replace (s n) with 0 by lra. lra.
Qed.

(** So does each column: whatever changes in the logits, the sum of the weights stays. *)
Theorem jacobian_columns_sum_to_zero s : (∀ n < N, 0 <= s n) -> ∀ m < N, Σ n < N, jacobian s n m = 0.
Proof.
  intros P m Hm. rewrite <- (jacobian_rows_sum_to_zero s P m Hm).
  apply sum_ext. intros n _. apply jacobian_symmetric.
Qed.

Theorem centre_sums_to_zero s v : (∀ n < N, 0 <= s n) -> Σ n < N, centre s v n = 0.
Proof.
  intros P. change (sum N (centre s v) = 0). rewrite (sum_ext N _ _ (centre_is_the_product s v)), sum_swap.
  rewrite (sum_ext N _ (fun m => v m * Σ n < N, jacobian s n m)).
  2: { intros m _. rewrite <- sum_scale. apply sum_ext. intros n _. apply Rmult_comm. }
  apply sum_zeros. intros m Hm. rewrite (jacobian_columns_sum_to_zero s P m Hm). lra.
Qed.

(** Where slopes are not negative, J is positive semidefinite: the weights are the gradient of a convex
    function of the logits, and a weight never falls when its own logit rises. *)
Theorem jacobian_positive s v : (∀ n < N, 0 <= s n) -> 0 <= Σ n < N, v n * centre s v n.
Proof.
  intros P. pose (mean := (Σ m < N, s m * v m) / total s).
  assert (E : Σ n < N, v n * centre s v n = (Σ n < N, s n * (v n - mean)²) + mean * Σ n < N, centre s v n).
  { rewrite <- sum_scale, <- sum_add. apply sum_ext. intros n _. unfold centre, Rsqr. fold mean. ring. }
  rewrite E, (centre_sums_to_zero s v P), Rmult_0_r, Rplus_0_r.
  apply sum_nonneg. intros n Hn. apply Rmult_le_pos; [exact (P n Hn) | apply Rle_0_sqr].
Qed.

(** How such a derivative arises: changes s_n (v_n − δ) with one δ for all n, which sum to 0, are the product
    of J and v. *)
Lemma centre_is_the_change s v change delta :
  sum N s <> 0 -> (∀ n < N, change n = s n * (v n - delta)) -> sum N change = 0 ->
    ∀ n < N, change n = centre s v n.
Proof.
  intros Z C E n Hn. rewrite (sum_ext N _ _ C) in E.
  rewrite (sum_ext N _ (fun m => s m * v m - delta * s m)) in E by (intros; cbn beta; ring).
  rewrite sum_sub, sum_scale in E. rewrite C by exact Hn. unfold centre. rewrite total_is by exact Z.
  replace (Σ m < N, s m * v m) with (delta * sum N s) by lra. field. exact Z.
Qed.

End Jacobian.
